"""Trainers of nnU-Net's own whose networks compute as its plans say, or otherwise in what the tensors show.

A trainer of somebody else's may build any network; where its tensors fit the plans and its activation, say, is another
one, nothing in the checkpoint tells.
"""

from __future__ import annotations

#: Before the names, the class that all of them begin with; of nnU-Net 2.8.1, nnunetv2/training/nnUNetTrainer. BN and
#: NoDeepSupervision show in the tensors. Its Primus trainers have networks of their own, which are not imported.
_FIRST = "nnUNetTrainer"
_VARIANTS = """
_1epoch _5epochs _10epochs _20epochs _50epochs _100epochs
_250epochs _500epochs _750epochs _2000epochs _4000epochs _8000epochs
_250epochs_NoMirroring _2000epochs_NoMirroring _4000epochs_NoMirroring _8000epochs_NoMirroring
Benchmark_5epochs Benchmark_5epochs_noDataLoading
DA5 DA5Segord0 DA5ord0 DA5_10epochs _DASegOrd0 _DASegOrd0_NoMirroring NoDA NoMirroring _noDummy2DDA
_onlyMirror01 _onlyMirror01_1500ep _onlyMirror01_DASegOrd0 _onlyMirror01_DA5
CELoss CELoss_5epochs DiceLoss DiceCELoss_noSmooth DiceTopK10Loss Topk10Loss Topk10LossLS01
CosAnneal _warmup BN NoDeepSupervision
Adam Adam1en3 Adam3en4 VanillaAdam VanillaAdam1en3 VanillaAdam3en4 Adan Adan1en1 Adan1en3 Adan3en4 AdanCosAnneal
_probabilisticOversampling _probabilisticOversampling_010 _probabilisticOversampling_033
"""
KNOWN_TRAINERS = frozenset({_FIRST, "nnUNet_Trainer_BS8", *(f"{_FIRST}{name}" for name in _VARIANTS.split())})
