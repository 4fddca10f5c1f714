"""All sources by name. A new one: a module in `sources/` with its facts and its reader, imported and listed here."""

from __future__ import annotations

from meddel_hf.datadel.source import Source
from meddel_hf.datadel.sources import (
    cvc_300,
    cvc_clinicdb,
    cvc_colondb,
    ead2019,
    edd2020,
    etis_larib,
    gastrovision,
    hyper_kvasir,
    imageclefmed,
    kvasir_capsule,
    kvasir_instrument,
    kvasir_seg,
    kvasir_sessile,
    polypgen2021,
)

SOURCES: dict[str, Source] = {
    module.SOURCE.name: module.SOURCE
    for module in (
        gastrovision, hyper_kvasir, kvasir_capsule, cvc_clinicdb, cvc_300, cvc_colondb, ead2019, edd2020, etis_larib,
        imageclefmed, kvasir_instrument, kvasir_seg, kvasir_sessile, polypgen2021,
    )
}  # fmt: skip
