"""What mkdocs calls when it has read its own folder: it is given all pages."""

from __future__ import annotations

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from jobs.site.pages import site_pages


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Put the assembled pages in the place of the hand-written ones, and all others beside them."""
    try:
        found = site_pages()
    except ValueError as error:
        raise PluginError(str(error)) from error
    for address, page in found.items():
        if given := files.get_file_from_path(address):
            files.remove(given)
        if isinstance(page, str):
            files.append(File.generated(config, address, content=page))
        else:
            files.append(File.generated(config, address, abs_src_path=str(page)))
    return files
