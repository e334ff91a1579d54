"""Documents of workflows: one readable YAML file for a graph, its schema, and how two graphs differ. No I/O."""

from mecapy_platform.core.workflows.documents.comments import updated
from mecapy_platform.core.workflows.documents.difference import Change, are_same, differences
from mecapy_platform.core.workflows.documents.reading import ReadDocument, read_document
from mecapy_platform.core.workflows.documents.record import WorkflowDocument, references, renamed
from mecapy_platform.core.workflows.documents.schema import document_schema
from mecapy_platform.core.workflows.documents.text import as_text
from mecapy_platform.core.workflows.documents.writing import write_document

__all__ = [
    "Change",
    "ReadDocument",
    "WorkflowDocument",
    "are_same",
    "as_text",
    "differences",
    "document_schema",
    "read_document",
    "references",
    "renamed",
    "updated",
    "write_document",
]
