"""What is known of ECG-EmotionNet, from whom, and what is not: tables of facts, each marked.

N. Mansourian, A. Mohammadi, M. O. Ahmad and M. N. S. Swamy, "ECG-EmotionNet: Nested Mixture of
Expert (NMoE) Adaptation of ECG-Foundation Model for Driver Emotion Recognition", arXiv 2503.01750,
2025. Of the paper the abstract was read, and no page. Every cell that claims something ends in
marks; `sources` says what each of them stands for. What no source says is *not found*, mark N.
"""

from __future__ import annotations

import pandas as pd

__all__ = ["component_map", "limitations", "not_found", "sources"]

_PAPER = "https://arxiv.org/abs/2503.01750"
_SOURCES = {
    "A": ("abstract of the paper, first version",
          "high: it is theirs; it has no equation and no table", _PAPER),
    "B": ("code of this book", "as far as its tests go", "lib/affectbook"),
    "C": ("code that trained ECG-FM, commits 6b9e137 and 9cc0d3f of spring 2025",
          "high: it is what was run; the paper may have used it otherwise",
          "https://github.com/Jwoo5/fairseq-signals and https://github.com/bowang-lab/ECG-FM"),
    "D": ("a blog on the data set, in Chinese, its beginning", "medium: at second hand",
          "https://dapalm.com/2026/04/18/2026-04-19-mand1-multimodal-driver-dataset/"),
    "E": ("abstract of the paper on the data set", "high: it is its authors'",
          "https://doi.org/10.1038/s41597-024-03137-y"),
    "H": ("page of the published weights", "high: size and sum can be checked",
          "https://huggingface.co/wanglab/ecg-fm-preprint"),
    "I": ("inference of this book", "none: no source says it", "lib/affectbook"),
    "M": ("measured here, on networks of these sizes with random weights",
          "high: the tests measure it again", "lib/affectbook"),
    "N": ("not found: the pages of the paper were not read", "–", _PAPER),
    "S": ("a public summary of the paper, written by a machine",
          "medium to low: it says itself that it inferred the gate and the aggregation",
          f"a page about {_PAPER}"),
    "T": ("others' code and scores with the published weights", "medium: at second hand",
          "https://github.com/hemlock06/WidU_ecg-fm_emergency-detection"),
}  # fmt: skip

_NOT_FOUND = (
    ("equation of the gate",
     "layer embeddings are fused by trainable weights [A, S]; softmax or raw weights, the same for "
     "all windows or computed from each: not found [N]",
     "static: the softmax of one number per layer; last, uniform, raw, dynamic, token by name [B]"),
    ("what is mixed",
     "each transformer layer is an expert [A, S]; with or without the input of the first layer, "
     "and any scaling before: not found [N]",
     "all 12 layers without that input, as they are; subsets, layer norm and z-scores by name [B]"),
    ("order of pooling",
     "average pooling [S]; before or after the mixture: not found [N]",
     "before; only for the gate token, or after a layer norm, it makes a difference [B]"),
    ("dense layers",
     "dense layers with batch norm and dropout, and one to five classes [S]; widths, dropout rate, "
     "activation: not found [N]",
     "768-256-64-5, ReLU, dropout 0.2: 214,277 weights; an example, not the paper's [B]"),
    ("one lead for twelve",
     "ECG of a single channel [A, S]; how a network of twelve leads takes it: not found [N]",
     "in the place of lead II, zeros elsewhere; lead_I, copied and learnt by name [B]"),
    ("length of a window",
     "sliding windows with an overlap of 75 % [S]; length: not found [N]; ECG-FM was trained on "
     "5 s [C]",
     "5 s; length and overlap stand with every score [B]"),
    ("resampling",
     "recordings of 256 Hz [D]; resampled to the 500 Hz of ECG-FM, or fed as they are: not found "
     "[N]",
     "resampled to 500 Hz: 2500 samples, 156 tokens [B]"),
    ("filter",
     "a high-pass filter [S]; cut-off, order, and over what: not found [N]",
     "0.5 Hz, over whole recordings before windows are cut [B]"),
    ("normalisation",
     "normalised [S]; over window, recording or person: not found [N]; in ECG-FM each lead over "
     "its recording, before it is cut [C]",
     "each window over itself; of a single lead the group norm takes the offset away in any case, "
     "and the size but for its epsilon [B]"),
    ("unit of the split",
     "five-fold cross-validation [S]; of windows, recordings or people: not found [N]",
     "people; shuffled windows in red beside them [B]"),
    ("training",
     "Adam, 10 epochs, backbone frozen [S]; learning rate, batch size, schedule, weight decay, and "
     "how an epoch was chosen: not found [N]",
     "Adam, 0.001 for the head and 0.05 for the gate if it is of numbers (0.001 if it is a map), "
     "batches of 32, 10 epochs; fixed before, the last epoch is taken [B]"),
    ("loss",
     "loss, weights of classes, any penalty on the gate: not found [N]",
     "cross-entropy, without weights and penalties [B]"),
    ("seeds and spread",
     "number of seeds, deviation over folds, scores by class, confusion matrix: not found [N]",
     "every row has its seed; intervals are over people [B]"),
    ("averaging of F1",
     "accuracy 82.45 %, F1 77.11 % [S]; over classes or weighted by them: not found [N]",
     "macro F1, with balanced accuracy and the majority class beside it [B]"),
    ("what the gain is over",
     "6 % in accuracy and 7 % in F1 over full fine-tuning, linear probing or low-rank adaptation "
     "[A]; over which of them, and relative or in points: not found [N]",
     "over the last layer alone, the uniform mean, LoRA and full fine-tuning [B]"),
    ("source of the labels",
     "five scenarios, each made to induce one emotion [D]; scenario or self-report as label: not "
     "found [N]",
     "the scenario [B]"),
    ("whose recordings",
     "50 people [E], 39 of them complete, 11 with motion sickness [D]; who was used: not found [N]",
     "simulated drivers in the layout of manD 1.0, and real people of two other sets [B]"),
    ("which weights of ECG-FM",
     "not found [N]; the file that its README pointed at when the paper appeared is the likeliest "
     "[C, I]",
     "that file, if it is there and has its sum [B]"),
    ("layers of ECG-FM",
     "12 layers [S], which only the public Base model has; the first version of its paper told "
     "of a Large one [C]",
     "Base: 90,373,248 weights [B]"),
    ("code of the paper",
     "not found [N]",
     "written from the above; nothing of it is the authors' [B]"),
)  # fmt: skip

_MODELS = "lib/affectbook/models"
_TESTS = "tests/models"
_COMPONENTS = (
    ("one lead as twelve", "ECG of a single channel [A, S]",
     f"{_MODELS}/leads.py: TwelveLeads",
     "eleven leads are zero, or all are equal",
     f"{_TESTS}/test_leads.py: test_one_slot_has_the_signal_and_the_others_have_zeros"),
    ("ECG-FM, Base", "a foundation model for ECG, frozen [A, S]; its sizes [C]",
     f"{_MODELS}/ecg_fm.py: ECGFM",
     "90,373,248 weights, part by part",
     f"{_TESTS}/test_ecg_fm.py: test_the_published_encoder_has_its_parameters"),
    ("its layers", "twelve, with the norm after the residual [C]",
     f"{_MODELS}/ecg_fm.py: ECGFM",
     "reference outputs of all layers, to 1e-4",
     f"{_TESTS}/test_ecg_fm.py: test_pooled_layers_equal_those_of_the_published_network"),
    ("its published weights", "a file of 1,090,825,421 bytes [H]",
     f"{_MODELS}/_ecg_fm_checkpoint.py: Published",
     "size and sum; every one of 215 tensors by name and shape",
     f"{_TESTS}/test_ecg_fm_checkpoint.py: test_every_tensor_of_the_encoder_is_used"),
    ("what only its pretraining has", "codebook and projections [C]",
     f"{_MODELS}/ecg_fm.py: ECGFMPretraining",
     "90,883,072 weights with the encoder",
     f"{_TESTS}/test_ecg_fm.py: test_pretraining_adds_the_published_extras"),
    ("its pretext: W2V, CMSC, RLM", "masked tokens, segments of a recording, leads zeroed [C]",
     f"{_MODELS}/masked_ecg.py: MaskedECG",
     "half of the tokens masked; terms equal to those of transformers",
     f"{_TESTS}/test_masked_ecg.py: test_terms_are_those_of_transformers"),
    ("layers as experts, computed once", "backbone frozen [S]",
     "lib/affectbook/layer_embeddings.py: LayerEmbeddings",
     "neither labels nor other windows have a part in what is kept",
     "tests/test_layer_embeddings.py: "
     "test_neither_labels_nor_other_windows_have_a_part_in_an_embedding"),
    ("gate", "trainable weights [A, S]; equation not found [N]",
     f"{_MODELS}/nmoe.py: Gate",
     "0, 12, 9,228 or 110,604 weights; finds the one layer that has the label",
     f"{_TESTS}/test_nmoe.py: test_gates_have_as_many_weights_as_the_readings_of_the_paper"),
    ("average pooling", "over tokens [S]",
     f"{_MODELS}/nmoe.py: NMoE",
     "commutes with every gate but token",
     f"{_TESTS}/test_nmoe.py: test_gates_but_token_commute_with_the_mean_over_tokens"),
    ("dense head", "batch norm, dropout, five classes [S]; widths not found [N]",
     f"{_MODELS}/nmoe.py: NMoE",
     "214,277 weights, layer by layer",
     f"{_TESTS}/test_nmoe.py: test_the_head_is_768_256_64_5_with_two_batch_norms"),
    ("training of gate and head", "Adam, 10 epochs [S]",
     "lib/affectbook/layer_embeddings.py: LayerNet",
     "the backbone stays as it is, gate and head move",
     "tests/test_layer_embeddings.py: "
     "test_the_backbone_stays_as_it_is_and_gate_and_head_are_trained"),
)  # fmt: skip

_LIMITATIONS = (
    ("one scenario, one emotion, one recording", "paper",
     "in manD 1.0 each emotion has a scenario of its own [D], so that emotion, task, weather and "
     "level of automation change together [I]",
     "that an emotion was recognised and not its scenario, not even on new drivers",
     "the card of the data says it; no split can take them apart [B]"),
    ("one recording for each label of a person", "paper",
     "whoever recognises the recording knows the label, if windows are shuffled [I]; which split "
     "was used: not found [N]",
     "that 82.45 % would hold for a driver who was not in the training",
     "shuffled windows beside new people, on labels and on coins [B]"),
    ("a backbone that was taught to recognise recordings", "paper",
     "CMSC pulls segments of one recording together and pushes others away [C]; with the two rows "
     "above, high scores need no emotion [I]",
     "that a score shows what the backbone knows of emotions",
     "the same pretraining without CMSC, random backbones, a probe for people in every layer [B]"),
    ("75 % overlap", "paper",
     "neighbours share three quarters of their samples [S]; of shuffled folds nearly all test "
     "windows overlap a training window (exercise 3) [I]",
     "that test windows were new signal, under a split of windows",
     "the audit counts overlapping windows; folds of people have none [B]"),
    ("ten epochs, and no rule for the choice of one", "paper",
     "10 epochs [S]; how the reported one was chosen: not found [N]",
     "that the best of ten was not taken on the test fold; nor that it was",
     "the number is fixed before, the last epoch is taken [B]"),
    ("numbers without a spread", "paper",
     "no deviation over folds, seeds or people was found [N]",
     "that a gain of 6 % is more than another seed would give",
     "intervals over people, differences paired by person [B]"),
    ("efficient in what", "paper",
     "fewer weights are trained [A]; all layers are computed for every window all the same: no "
     "expert is left out [I]",
     "that a mixture of nested experts answers faster than the backbone",
     "weights and seconds are told apart [B]"),
    ("weights of a gate", "both",
     "the last layer's deviation was seen near 12.9 on noise [T]: a layer of large numbers "
     "outweighs others at equal weight",
     "that the layer with the largest weight is where emotions are",
     "deviation of each layer; layers normalised before the mixture; the probe of each layer [B]"),
    ("at second hand", "both",
     "of the paper the abstract was read [A]; most choices are from a summary by a machine [S], or "
     "ours [B]",
     "that a difference from the paper is a mistake of the paper",
     "a mark on every claim, and a variant for most choices [B]"),
    ("mini is not ECG-FM", "this book",
     "12 layers, 1,448,832 weights, 1.6 % of ECG-FM's [M]",
     "anything about the quality of ECG-FM",
     "gates, profiles over layers and leakage are shown on it; ECG-FM itself wherever its file is "
     "at hand [B]"),
    ("what mini was pretrained on", "this book",
     "simulated people of twelve leads and short open recordings [B]; ECG-FM: MIMIC-IV-ECG and "
     "PhysioNet/CinC 2021 [C]",
     "from a score on simulated drivers, that pretraining helps on real ones: waves of both come "
     "from one simulator",
     "real people beside the simulated ones; a random backbone beside both [B]"),
    ("no manD 1.0", "this book",
     "its files were not at hand; its layout is a guess that a mapping corrects [B]",
     "anything about 82.45 %: a simulated driver neither confirms nor denies it",
     "scores of the twin are called simulated and decide no claim [B]"),
    ("stand-ins for emotions", "this book",
     "eegmat: rest, always first, then arithmetic; drivedb: roads, two drivers; nobody was asked "
     "what they felt [B]",
     "that states told apart there are emotions, nor from two drivers anything about drivers",
     "no score of theirs stands beside a number of the paper as its like [B]"),
    ("a random backbone of full size", "this book",
     "90,373,248 weights that nobody trained [M]",
     "that it is a weak ECG-FM: it is the control that says what the architecture alone gives",
     "it stands beside every pretrained one [B]"),
)  # fmt: skip


def sources() -> pd.DataFrame:
    """Return what the marks in the other tables stand for.

    Returns
    -------
    pandas.DataFrame
        A row for each mark; columns mark, source, trust and where.
    """
    rows = [(mark, *told) for mark, told in _SOURCES.items()]
    return pd.DataFrame(rows, columns=["mark", "source", "trust", "where"])


def not_found() -> pd.DataFrame:
    """Return the open choices of the paper: what is stated, and what is done here.

    Returns
    -------
    pandas.DataFrame
        A row for each choice; columns choice, stated, here. Each part of a cell ends in its marks,
        see `sources`.
    """
    return pd.DataFrame(_NOT_FOUND, columns=["choice", "stated", "here"])


def component_map() -> pd.DataFrame:
    """Return where each component of the paper is in this book, and what checks it.

    Returns
    -------
    pandas.DataFrame
        A row for each component; columns component, told (with marks), in this book (file and
        class), checked by, and test (file and function).
    """
    columns = ["component", "told", "in this book", "checked by", "test"]
    return pd.DataFrame(_COMPONENTS, columns=columns)


def limitations() -> pd.DataFrame:
    """Return what a reader must not conclude: from the paper, and from this book.

    Returns
    -------
    pandas.DataFrame
        A row for each limitation; columns limitation, whose (paper, this book or both), why (with
        marks), do not conclude, and done here.
    """
    columns = ["limitation", "whose", "why", "do not conclude", "done here"]
    return pd.DataFrame(_LIMITATIONS, columns=columns)
