"""Pages as scripts: the code blocks of a page, in their order, as one program for bash."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN = ("python", "bash", "console")
STARTS_A_SERVER = ("infonce serve", ".venv/bin/infonce serve")
"""Lines of a console that are not run: the server of the test is there already."""
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_END = "END_OF_PYTHON"


def script_of(text: str) -> str:
    """The page as one script: what one block makes, the next one finds; neighbours in Python are one program."""
    script, python = [], ""
    for language, block in _BLOCK.findall(text):
        if language == "python":
            python += block
        elif language in RUN:
            script += [_heredoc(python), block if language == "bash" else typed(block)]
            python = ""
    return "\n".join([*script, _heredoc(python)])


def typed(console: str) -> str:
    """What is typed at a console, without what is printed there."""
    lines = re.sub(r"\\\n\s*", "", console).splitlines()
    commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return "\n".join(command for command in commands if not command.startswith(STARTS_A_SERVER)) + "\n"


def _heredoc(code: str) -> str:
    return f"python - <<'{_END}'\n{code}{_END}\n" if code else ""
