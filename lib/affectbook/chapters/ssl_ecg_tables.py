"""What was written of self-supervised ECG, and what was released: tables of facts, each marked.

P. Sarkar and A. Etemad, "Self-Supervised ECG Representation Learning for Emotion Recognition",
IEEE Transactions on Affective Computing 13(3), 2022, doi 10.1109/TAFFC.2020.3014842. Every cell
that claims something ends in marks; `sources` says what each of them stands for. Of the two papers
only the abstracts were read; what their pages say besides is *not found*, mark N.
"""

from __future__ import annotations

import pandas as pd

__all__ = ["contradictions", "defects", "documents", "sources"]

_CODE = "https://github.com/pritamqu/SSL-ECG"
_STUDENT = "https://github.com/pureEye21/IPR-SSL-ECG-Paper-Reimplementaton"
_PAPERS = "https://arxiv.org/abs/2002.03898 and https://arxiv.org/abs/1910.07497"
_SOURCES = {
    "A": ("abstract of a paper", _PAPERS),
    "B": ("code of this book", "lib/affectbook"),
    "C": ("code that the authors released, unchanged since June 2020", _CODE),
    "G": ("graph that was released with their weights", _CODE),
    "I": ("what a user of the code reports in a public issue", f"{_CODE}/issues/1"),
    "N": ("not found: the pages of the papers were not read", _PAPERS),
    "P": ("code of an incomplete port to PyTorch",
          "https://github.com/joergsimon/SSL-ECG-Paper-Reimplementaton"),
    "R": ("text of a student's course report of October 2024", _STUDENT),
    "S": ("code beside the student's report, which began as a copy of the port", _STUDENT),
    "T": ("text and figure of a paper, at second hand", _PAPERS),
}  # fmt: skip

_CONTRADICTIONS = (
    ("pretext",
     "papers: recognise which transformation a window went through [A]; student report: "
     "contrastive [R]",
     "recognition: a head for each version of a window [C, G]",
     "recognition; published+contrastive is a variant beside it [B]"),
    ("tasks",
     "six transformations [A]",
     "seven heads: the window as it was has one, too [C, G]",
     "seven heads [B]"),
    ("loss of the pretext",
     "papers: not found [N]; student report: categorical cross-entropy [R]",
     "seven binary cross-entropies, those of negation and inversion times 0.0125, the others times "
     "0.195; 1e-4 times half the squares of all kernels [C, G]",
     "as released; equal weights, and one softmax, are ablations [B]"),
    ("activation",
     "ReLU [T]",
     "leaky ReLU with slope 0.2 [C, G]",
     "leaky ReLU with slope 0.2; ReLU is an ablation [B]"),
    ("batch norm",
     "papers: not found [N]; student report: yes [R]",
     "none; an option, switched off [C, G]",
     "none; an ablation, and a part of published+contrastive [B]"),
    ("optimiser",
     "papers: not found [N]; student report: SGD [R]",
     "Adam, 0.001 times 0.9 after every 10,000 steps [C]",
     "Adam; SGD in published+contrastive only [B]"),
    ("epochs of the pretext",
     "not found [N]",
     "100, without early stopping; the heads are trained and tested after each of them [C]",
     "fixed in advance by the scale; the last one is taken [B]"),
    ("emotion head",
     "two dense layers [A], of 64 units with sigmoid as the student report words it [R]",
     "ReLU layers of 512: two for SWELL and WESAD, three for DREAMER and AMIGOS [C]",
     "two of 512; three on DREAMER and AMIGOS; dense_512x2, dense_64x2 and linear by name [B]"),
    ("encoder under the head",
     "convolutions frozen [A]",
     "frozen; the README expects more of fine-tuning [C]",
     "frozen; fine_tuned is a variant [B]"),
    ("fully supervised reference",
     "compared with [A]",
     "not in the repository [C]",
     "from_scratch: the same encoder and head, trained end to end on the same windows [B]"),
    ("valence",
     "valence is classified [A]",
     "the column is taken into which the extractors write dominance [C]",
     "read by its name; dominance is a target of its own [B]"),
    ("classes",
     "high and low, and several: an issue speaks of both [I]",
     "each rating that occurs is a class, though a comment says binary [C]",
     "a label rule, named with every score [B]"),
    ("split",
     "not found [N]",
     "ten folds of shuffled windows, each data set by itself [C]",
     "that one in red, and new subjects beside it [B]"),
    ("normalisation",
     "z-score by person, as a user read it [I]",
     "z-score by person with the deviation of the central 95 % of samples, of one recording [C]",
     "the same deviation, of all windows of a subject [B]"),
    ("filter",
     "high-pass at 0.8 Hz, as a user read it [I]",
     "none: recordings are expected filtered, at 256 Hz [C]",
     "a high-pass over whole recordings; what differs is under the deviations [B]"),
    ("data of the pretext",
     "unlabelled ECG [A]",
     "training windows of all four data sets together [C]",
     "other data sets, training windows of the fold or, in red, all windows [B]"),
)  # fmt: skip

_DEFECTS = (
    ("1. valence is dominance",
     "for DREAMER and AMIGOS the fourth column is taken as valence; the extractors write person, "
     "arousal, valence, dominance [C]",
     "the third column, which holds valence [C]",
     "every score called valence, if the arrays came from these extractors (from MATLAB, says the "
     "README) and, for DREAMER, if the rating files, not released, have dominance second [C]",
     "no: ratings are read by name; the target dominance shows what the mix-up is worth [B]"),
    ("2. statistics of one recording",
     "mean and deviation of a person are those of the last recording in the list: the flag that "
     "would append is set where it is never reached [C]",
     "mean and deviation of all recordings of the person [C]",
     "the size of every window of SWELL, DREAMER and AMIGOS, on which scaling by 1.1 has to be "
     "seen; WESAD has one recording of a person [C]",
     "no: statistics are those of all windows of a subject [B]"),
    ("3. test scores in files of training",
     "for DREAMER and AMIGOS test scores are appended to the file of training scores [C]",
     "a file of test scores, as for SWELL and WESAD [C]",
     "nothing that is learnt; a mean over such a file mixes both [C]",
     "no: a row says what it was tested on [B]"),
    ("4. tested after every epoch",
     "8 targets are trained and tested after each of 100 epochs of the pretext, in 10 folds: 8,000 "
     "classifiers, whose rows name the fold and not the epoch [C]",
     "one epoch, chosen without the test windows [C]",
     "a best of 100 is above a fixed one by luck alone; which epoch was published is not found [N]",
     "no: the epoch is fixed in advance. A published maximum would lie above ours [B]"),
    ("5. does not start",
     "the main script uses a name that is not defined, and paths of Windows [C]",
     "the folder of the script [C]",
     "no score; as it stands it cannot be run [C]",
     "no: the code was not run, only read [B]"),
    ("6. the larger label wins",
     "a window of WESAD has the largest label code inside it: one that is half transition and half "
     "baseline is baseline [C]",
     "windows of one condition [C]",
     "the labels of windows at each change of condition [C]",
     "no: recordings are cut where the condition changes, before windows are [B]"),
)  # fmt: skip

_DOCUMENTS = (
    ("paper in IEEE Transactions on Affective Computing, 2022",
     "a network that recognises signal transformations; six of them are the pretext tasks [A]",
     "the method and its claims"),
    ("paper at ICASSP, 2020",
     "a network that detects which of several fixed transformations a signal went through [A]",
     "the first form: two data sets, two dense layers"),
    ("code of the authors, 2020",
     "seven heads of one logit each, binary cross-entropy, Adam [C, G]",
     "what was computed: layers, strengths, split"),
    ("port to PyTorch by a third person",
     "a head for each version, binary cross-entropy on logits; heads have one hidden layer instead "
     "of two, leaky ReLU has slope 0.01, and the padding is mirrored [P]",
     "nothing, unless it was used"),
    ("student's course report, 2024",
     "contrastive, with batch norm, categorical cross-entropy and SGD [R]; the code beside it "
     "recognises seven versions, with binary cross-entropy and Adam and without batch norm [S]",
     "nothing on the method: it tells of work with the port"),
)  # fmt: skip


def contradictions() -> pd.DataFrame:
    """Return where text and released code part, and what this book does.

    Returns
    -------
    pandas.DataFrame
        A row for each topic; columns topic, text, released code, here. Each part of a cell ends in
        its marks, see `sources`.
    """
    return pd.DataFrame(_CONTRADICTIONS, columns=["topic", "text", "released code", "here"])


def defects() -> pd.DataFrame:
    """Return the six defects of the released code, as released and as it was meant.

    Returns
    -------
    pandas.DataFrame
        A row for each defect; columns defect, as released, intended, what it changes, and whether
        it changes a number of this book. What was intended is our reading of the code around it.
    """
    columns = ["defect", "as released", "intended", "what it changes", "changes a number here"]
    return pd.DataFrame(_DEFECTS, columns=columns)


def documents() -> pd.DataFrame:
    """Return which document says what about the pretext, from the papers to the latest report.

    Returns
    -------
    pandas.DataFrame
        A row for each document; columns document, what it says of the pretext, cite it for.
    """
    return pd.DataFrame(_DOCUMENTS, columns=["document", "the pretext in it", "cite it for"])


def sources() -> pd.DataFrame:
    """Return what the marks in the other tables stand for: mark, source, where."""
    rows = [(mark, *told) for mark, told in _SOURCES.items()]
    return pd.DataFrame(rows, columns=["mark", "source", "where"])
