"""What `generate` and `suggest` return beside what is their own: molecules and columns that go to a file or a DataFrame."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from molvae.data.tables import write_table

if TYPE_CHECKING:
    import pandas


class MoleculeTable:
    """columns: name -> values, `smiles` first, one row a molecule."""

    columns: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(self.smiles)

    @property
    def smiles(self) -> list[str]:
        """Canonical isomeric SMILES."""
        return self.columns["smiles"]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table in the format of the path's ending: .smi, .csv, .tsv, .sdf, .parquet (text also with .gz)."""
        write_table(path, self.columns)

    def to_frame(self) -> pandas.DataFrame:
        """The table as a pandas DataFrame."""
        import pandas

        return pandas.DataFrame(self.columns)
