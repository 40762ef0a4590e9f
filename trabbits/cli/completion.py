"""``trabbits completion``: what a shell needs to complete trabbits' commands.

Lives here: the command.  Must not know: the commands that are completed; click finds them itself.
"""

from __future__ import annotations

import click

_SHELLS = ["bash", "zsh", "fish"]


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion of trabbits for a shell.

    \b
    bash: trabbits completion bash > ~/.local/share/bash-completion/completions/trabbits
    zsh:  trabbits completion zsh > "${fpath[1]}/_trabbits"
    fish: trabbits completion fish > ~/.config/fish/completions/trabbits.fish

    Ids of clients are completed, too, while trabbits is running.
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    complete = found(context.find_root().command, {}, "trabbits", "_TRABBITS_COMPLETE")
    # Not source(): that asks the bash in the PATH for its version, which need not be the one that reads this.
    click.echo(complete.source_template % complete.source_vars())
