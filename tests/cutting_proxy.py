"""A TCP proxy that cuts a connection when it sees a word: before it passes it on, or after the answer."""

import contextlib
import socket
import threading

__all__ = ["Proxy"]


class Proxy:
    """Between clients and 127.0.0.1:`port`; `cut` is "", "before" or "after", for one occurrence of the word.

    `refuses`: further connections are closed at once.
    """

    def __init__(self, port: int, word: bytes):
        self.target, self.word, self.cut, self.refuses = port, word, "", False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.links: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self.listener.close()
        for link in self.links:
            link.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
                if self.refuses:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self.links += [client, server]
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
            threading.Thread(target=self._back, args=(server, client), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self.word in data and self.cut:
                    how, self.cut = self.cut, ""
                    if how == "after":
                        server.sendall(data)
                        self._end(client)
                        return  # the server's own end comes when it has answered
                    self._end(client)
                    break
                server.sendall(data)
        self._end(server)

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
        self._end(client)

    @staticmethod
    def _end(link: socket.socket) -> None:
        with contextlib.suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)
