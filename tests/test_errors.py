"""What the errors of registries say."""

from __future__ import annotations

import pytest

from vesal.errors import nearest_name, out_of_memory, unknown_name


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("los", "loss"),
        ("LOSS", "loss"),
        ("attention_unet", "attention-unet"),
        ("attention unet", "attention-unet"),
        ("attentionunet", "attention-unet"),
        ("quux", None),
        ("", None),
    ],
)
def test_the_nearest_name_is_one_that_differs_by_little(name: str, wanted: str | None) -> None:
    assert nearest_name(name, ["attention-unet", "loss", "lr"]) == wanted


def test_a_word_of_another_program_counts_more_than_a_similar_one() -> None:
    assert nearest_name("Dice_BCE", ["dice_ce", "dice_balanced_ce"], {"dice_bce": "dice_balanced_ce"}) == (
        "dice_balanced_ce"
    )


def test_where_nothing_is_near_only_the_choices_are_listed() -> None:
    assert (
        str(unknown_name("loss", "quux", ["ce", "dice"]))
        == "There is no loss 'quux'; choose one of: ce, dice."
    )


def test_the_words_of_a_full_memory_are_known() -> None:
    assert out_of_memory(MemoryError())
    assert not out_of_memory(RuntimeError("shape mismatch"))
