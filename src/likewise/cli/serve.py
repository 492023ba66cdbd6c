"""likewise serve and likewise token: galleries behind HTTP."""

import os
from pathlib import Path
from typing import Annotated

import typer

from likewise.cli.app import app
from likewise.extras import install_line

__all__ = ["serve", "token"]


@app.command()
def serve(
    galleries: Annotated[
        list[str], typer.Argument(metavar="GALLERY...", help="files such as birds.gallery, or NAME=FILE")
    ],
    host: Annotated[str, typer.Option(help="address to listen on; a public one needs --token-file")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="port to listen on; 0: any that is free")] = 8000,
    token_file: Annotated[Path | None, typer.Option(metavar="FILE", help="tokens, made by `likewise token`")] = None,
    model: Annotated[str, typer.Option(metavar="RUN|MODEL.onnx", help="where the model is, if it has moved")] = "",
    certificate: Annotated[Path | None, typer.Option(metavar="FILE", help="TLS certificate (PEM)")] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="private key of the certificate (PEM)")] = None,
    rate: Annotated[
        float, typer.Option(min=0.1, max=1e6, help="requests a second and token; twice as many at once")
    ] = 100,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="number of processes; more than one needs PostgreSQL")
    ] = 1,
) -> None:
    """Serve galleries: an HTTP interface (/openapi.json) and a page to search, identify, compare and enroll."""
    # requests are answered side by side; threads of OpenBLAS that spin between searches would double an answer's cost
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from likewise.serve.run import serve as run
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "uvicorn", "prometheus_client", "python_multipart", "multipart"):
            raise
        raise ValueError(f"the service needs {error.name}; run: {install_line('serve')}") from None
    from likewise.serve.settings import Limits, Settings

    settings = Settings(
        galleries=tuple(galleries),
        model=model,
        host=host,
        port=port,
        token_file=str(token_file or ""),
        certificate=str(certificate or ""),
        key=str(key or ""),
        workers=workers,
        limits=Limits(rate=rate, burst=max(1, int(2 * rate))),
    )
    run(settings)


@app.command()
def token(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="token file, for example tokens.toml")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="whose token it is, such as phone or ci")],
    scope: Annotated[str, typer.Option(help="read, write (enroll, correct) or admin (forget, calibrate)")] = "read",
    revoke: Annotated[bool, typer.Option("--revoke", help="remove the token of this name instead")] = False,
) -> None:
    """Make a token for `likewise serve --token-file FILE`, and print it once; only its hash is stored."""
    from likewise.serve.tokens import create_token, revoke_token

    if revoke:
        revoke_token(file, name)
        print(f"{file}: the token {name} is removed")
    else:
        print(create_token(file, name, scope))
