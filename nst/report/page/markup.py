"""HTML as a tree: text that goes into it is text and can be nothing else."""

from xml.etree.ElementTree import Element, tostring


def element(tag: str, *children: Element | str | None, **attributes: str | None) -> Element:
    """An element with its children, in order; what is None is left out.

    `class_` stands for `class`, `data_cell` for `data-cell`.
    """
    node = Element(tag)
    for name, value in attributes.items():
        if value is not None:
            node.set(name.rstrip("_").replace("_", "-"), value)
    last: Element | None = None
    for child in children:
        if isinstance(child, Element):
            node.append(child)
            last = child
        elif child and last is not None:
            last.tail = (last.tail or "") + child
        elif child:
            node.text = (node.text or "") + child
    return node


def render(node: Element) -> str:
    """An element as HTML."""
    return tostring(node, encoding="unicode", method="html")
