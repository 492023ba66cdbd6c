"""Threads that read and write one gallery do not wait for one another for ever."""

import threading

from colours import make


def test_a_write_asks_for_the_state_while_another_thread_waits_for_the_write(tmp_path):
    with make(tmp_path / "a.gallery") as gallery:
        gallery.state()
        seen = []

        def write() -> None:
            with gallery.store.begin():
                seen.append(gallery.state())

        writer = threading.Thread(target=write, daemon=True)
        with gallery.lock:  # as a thread has it that brings the state up to date
            writer.start()
            writer.join(20)
        assert len(seen) == 1
