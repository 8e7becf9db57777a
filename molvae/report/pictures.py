"""Drawings of molecules: one as SVG for a page, many as a PNG grid with a line of text under each."""

from __future__ import annotations

from collections.abc import Sequence

from rdkit.Chem import rdDepictor
from rdkit.Chem.Draw import rdMolDraw2D

from molvae.chem import Mol, parse


def molecule_svg(smiles: str, size: tuple[int, int] = (260, 190)) -> str:
    """An `<svg>` element of the molecule without background; "" for an invalid one."""
    mol = _laid_out(smiles)
    if mol is None:
        return ""
    drawing = rdMolDraw2D.MolDraw2DSVG(*size)
    options = drawing.drawOptions()
    options.clearBackground = False
    options.padding = 0.06
    rdMolDraw2D.PrepareAndDrawMolecule(drawing, mol)
    drawing.FinishDrawing()
    text = drawing.GetDrawingText()
    return text[text.index("<svg") :]


def grid_png(smiles: Sequence[str], texts: Sequence[str], *, columns: int = 5, cell: tuple[int, int] = (300, 250)) -> bytes:
    """A PNG of molecules in rows of `columns`, each with its text below; an invalid molecule leaves its cell empty."""
    width, height = cell
    rows = max(1, -(-len(smiles) // columns))
    drawing = rdMolDraw2D.MolDraw2DCairo(width * min(columns, max(len(smiles), 1)), height * rows, width, height)
    options = drawing.drawOptions()
    options.legendFontSize = height // 11
    options.padding = 0.05
    drawing.DrawMolecules([_laid_out(one) or Mol() for one in smiles], legends=list(texts))
    drawing.FinishDrawing()
    return drawing.GetDrawingText()


def _laid_out(smiles: str) -> Mol | None:
    """The molecule with 2D coordinates, straightened, ready to draw."""
    mol = parse(smiles)
    if mol is None:
        return None
    prepared = rdMolDraw2D.PrepareMolForDrawing(mol)
    rdDepictor.StraightenDepiction(prepared)
    return prepared
