"""The least that any program of ours can cost: typer with two commands that do nothing."""

import typer

app = typer.Typer()


@app.command()
def one() -> None:
    pass


@app.command()
def two() -> None:
    pass


if __name__ == "__main__":
    app()
