"""What the decoder may write next: everything that molecules are written as, and nothing that SELFIES has to repair."""

import random
from collections import Counter

import pytest
import torch
from conftest import EXAMPLE
from drugs import SMILES

from molvae.models import decoding
from molvae.models.decoding import strings, write
from molvae.models.sequence_vae import SequenceVAE
from molvae.strings.grammar import Grammar, Prefix
from molvae.strings.tokens import BOS, EOS, PAD, Vocabulary

MOLECULES = [*SMILES, *EXAMPLE.read_text().split()]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    written = [Vocabulary([]).to_selfies(text)[0] for text in MOLECULES]
    return Vocabulary.build([text for text in written if text], words=60, spelling="marks")


def ids(vocabulary: Vocabulary, text: str) -> list[int]:
    """Symbol by symbol, in brackets apart; the end token is written "$"."""
    return [EOS if symbol == "$" else vocabulary.ids[f"[{symbol}]"] for symbol in text.split()]


def test_every_molecule_may_be_written(vocabulary: Vocabulary) -> None:
    grammar = Grammar(vocabulary)
    rows = [vocabulary.encode(text)[0] for text in MOLECULES]
    written = [row for row in rows if row]
    assert len(written) > 150
    assert all(grammar.allows([*row, EOS]) for row in written)


@pytest.mark.parametrize("words", [False, True])
def test_what_it_allows_needs_no_repair(vocabulary: Vocabulary, words: bool) -> None:
    """Nonsense that keeps the rules is still read by SELFIES as it stands; only RDKit knows about stereo marks."""
    grammar, chance = Grammar(vocabulary), random.Random(0)
    tokens = [i for i, token in enumerate(vocabulary.tokens) if i > EOS and (words or token.count("[") == 1)]
    read = []
    for _ in range(300):
        prefix, row = Prefix(), []
        for length in range(100):
            chance.shuffle(tokens)
            tried = [EOS, *tokens] if length > 12 else [*tokens, EOS]
            following, token = next((n, t) for t in tried if (n := grammar.after(prefix, t)) is not None)
            prefix = following
            row.append(token)
            if token == EOS:
                read.append(vocabulary.decode(row))
                break
    assert len(read) > 150
    assert {d.reason for d in read if not d.faithful and "stereo" not in d.reason} == set()
    assert sum(d.faithful for d in read) > 20


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("$", "nothing was written"),
        ("=O", "a bond before the first atom"),
        ("C F C", "fluorine has one bond"),
        ("C =O C", "oxygen has no bond left"),
        ("C #N =C", "nor has nitrogen"),
        ("C )", "no branch is open"),
        ("C ( )", "an empty branch"),
        ("C ( C ) $", "a branch without the chain it leaves"),
        ("C ( C $", "an open branch"),
        ("C =( O", "the branch was promised a double bond"),
        ("C O (", "a branch takes one bond and leaves one"),
        ("C % %0", "a ring of one atom"),
        ("C % C %0", "a ring of two atoms"),
        ("C C %0", "a ring that never began"),
        ("C % C C $", "a ring that never closes"),
        ("C % C F", "a ring that nothing could close any more"),
        ("C % C O %0 C", "oxygen has two bonds"),
        ("C % C C ( C ) %0", "a ring closed behind a branch, where SELFIES would write it before"),
        ("O % C C =%0", "a double ring bond to an oxygen with one bond left"),
        ("C % % C C %0 %0", "two rings between the same atoms"),
    ],
)
def test_rules(vocabulary: Vocabulary, text: str, why: str) -> None:
    grammar = Grammar(vocabulary)
    *begin, last = ids(vocabulary, text)
    prefix = Prefix()
    for token in begin:
        following = grammar.after(prefix, token)
        assert following is not None, "the beginning is allowed"
        prefix = following
    assert grammar.after(prefix, last) is None, why


def test_asking_changes_nothing(vocabulary: Vocabulary) -> None:
    grammar = Grammar(vocabulary)
    prefix = grammar.after(Prefix(), vocabulary.ids["[C]"])
    assert prefix is not None
    before = prefix.copy()
    for token in range(len(vocabulary)):
        grammar.after(prefix, token)
    assert prefix == before


def test_only_marks_can_be_followed() -> None:
    with pytest.raises(ValueError, match="marks"):
        Grammar(Vocabulary(["[C]"]))


# -- the decoder under it


@pytest.fixture(scope="module")
def untrained(vocabulary: Vocabulary) -> SequenceVAE:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        small = {"embedding": 8, "hidden": 16}
        return SequenceVAE(len(vocabulary), latent=4, encoder_settings=small, decoder_settings=small).eval()


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_untrained_decoder_writes_only_what_can_be_read(
    vocabulary: Vocabulary, untrained: SequenceVAE, copies: int, temperature: float
) -> None:
    z = torch.randn(60 // copies, 1, 4, generator=torch.Generator().manual_seed(1))
    draws = {"temperature": temperature, "generator": torch.Generator().manual_seed(2), "copies": copies}
    rows = write(untrained, z, grammar=Grammar(vocabulary), **draws)
    reasons = [vocabulary.derive(text).reason for text in strings(vocabulary, rows)]
    assert all(not reason or "stereo" in reason or "length limit" in reason for reason in reasons)
    free = write(untrained, z, **draws)
    assert sum(not vocabulary.derive(text).faithful for text in strings(vocabulary, free)) > 30, "without it, most cannot"


def test_the_draw_is_that_over_the_allowed_tokens(vocabulary: Vocabulary, untrained: SequenceVAE) -> None:
    """First tokens of 20,000 draws against the softmax over what may begin a string; four standard errors."""
    grammar, n = Grammar(vocabulary), 20_000
    z = torch.zeros(1, 1, 4)
    with torch.inference_mode():
        logits, _ = untrained.decoder.step(torch.tensor([BOS]), untrained.decoder.start(z, 2))
        rows = write(untrained, z, temperature=1.0, generator=torch.Generator().manual_seed(0), copies=n, max_length=1,
                     grammar=grammar)  # fmt: skip
    allowed = torch.tensor([i not in (PAD, BOS) and grammar.after(Prefix(), i) is not None for i in range(len(vocabulary))])
    wanted = logits[0].masked_fill(~allowed, float("-inf")).softmax(-1)
    seen = Counter(rows[:, 0].tolist())
    for token, p in enumerate(wanted.tolist()):
        assert abs(seen[token] / n - p) <= 4 * (p * (1 - p) / n) ** 0.5 + 1e-12


def test_a_vocabulary_with_no_way_out_writes_as_it_would_without(untrained: SequenceVAE) -> None:
    """After [F] nothing can end: there is no atom left to write but one, and it may not follow; the first choice stands."""
    vocabulary = Vocabulary(["[=F]"], spelling="marks")
    logits = torch.tensor([[0.0, 0.0, 1.0, 2.0]])
    begun: list[Prefix | None] = [Prefix()]
    before, alive = torch.zeros(1, 0, dtype=torch.long), torch.tensor([0])
    chosen = decoding._legal(Grammar(vocabulary), begun, before, alive, torch.tensor([3]), logits, 0.0, 1.0, None)
    assert chosen.tolist() == [3]
    assert begun == [None]
