"""What mkdocs is told to do: list the decisions, write the API reference, and turn formulas into MathML.

All of it is done when the site is built, so that a page loads nothing from elsewhere.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

_DOCUMENT = Path(__file__).parents[1] / "tests/service/openapi.json"
_MARK = "<!-- operations -->"
_CODE = re.compile(r"(^```.*?^```$|`[^`\n]*`)", re.MULTILINE | re.DOTALL)
_FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$", re.DOTALL)
_WITH_FORMULAS = {"losses.md"}


def on_config(config: Any) -> Any:
    """Every decision has a place in the navigation, under its heading."""
    folder = Path(config.docs_dir)
    for section in config.nav:
        for entry in section.get("Records", []):
            if "Decisions" in entry:
                entry["Decisions"] = [
                    {path.read_text("utf-8").partition("\n")[0].lstrip("# 0123456789."): str(path.relative_to(folder))}
                    for path in sorted(folder.glob("decisions/*.md"))
                ]
    return config


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The page's text as it goes to the renderer."""
    path = page.file.src_uri
    if path in _WITH_FORMULAS:
        parts = _CODE.split(markdown)  # code stands at the odd places
        parts[::2] = [_FORMULA.sub(_formula, part) for part in parts[::2]]
        return "".join(parts)
    if _MARK in markdown:
        return markdown.replace(_MARK, "\n".join(_reference(json.loads(_DOCUMENT.read_text("utf-8")))))
    return markdown


def _formula(found: re.Match[str]) -> str:
    if found[1] is not None:
        return f"\n\n{convert(found[1].strip(), display='block')}\n\n"
    return convert(found[2])


def _reference(document: dict[str, Any]) -> Iterator[str]:
    """Operations by tag, and the schemas that they name."""
    tags: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tags.setdefault(operation.get("tags", ["other"])[0], []).append((method.upper(), path, operation))
    for tag, operations in tags.items():
        yield f"\n## {tag.capitalize()}\n"
        for method, path, operation in operations:
            yield from _operation(method, path, operation)
    yield "\n## Schemas\n"
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield from _schema(name, schema)


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"\n### `{method} {path}`\n"
    yield _cell(operation.get("description") or operation.get("summary", ""), in_table=False) + "\n"
    given = operation.get("parameters", [])
    if given:
        yield "| parameter | in | type | |\n|---|---|---|---|"
        for one in given:
            kind = _type(one.get("schema", {}))
            yield f"| `{one['name']}` | {one['in']} | {kind} | {_cell(one.get('description', ''))} |"
        yield ""
    for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
        yield f"Body, `{media_type}`: {_type(body.get('schema', {}))}\n"
    for status, answer in operation["responses"].items():
        if status < "4":
            kinds = ", ".join(_type(body.get("schema", {})) for body in answer.get("content", {}).values())
            yield f"Answer {status}: {kinds or 'no body'}\n"
    yield f"Errors: {', '.join(status for status in operation['responses'] if status >= '4')}\n"


def _schema(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield f"\n### {name}\n"
    yield _cell(schema.get("description", ""), in_table=False) + "\n"
    if "enum" in schema:
        yield _type(schema) + "\n"
    if not schema.get("properties"):
        return
    yield "| field | type | default |\n|---|---|---|"
    for field, kind in schema["properties"].items():
        needed = field in schema.get("required", [])
        default = "needed" if needed else f"`{json.dumps(kind.get('default'), ensure_ascii=False)}`"
        yield f"| `{field}` | {_type(kind)} | {_cell(default)} |"


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words, with a link where it has a name."""
    if reference := schema.get("$ref"):
        name = reference.rsplit("/", 1)[-1]
        return f"[{name}](#{re.sub(r'[^a-z0-9_-]', '', name.lower())})"
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(map(_type, schema[several])))
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    return str(schema.get("type", "anything"))


def _cell(text: str, *, in_table: bool = True) -> str:
    """The text on one line; a bar would end a cell."""
    line = " ".join(text.split())
    return line.replace("|", "\\|") if in_table else line
