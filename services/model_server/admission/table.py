"""All admissions by the name that the setting `admission` takes: another one is a module beside this and a row here."""

from services.model_server.admission.admission import AdmissionSettings
from services.model_server.admission.open import Open
from services.model_server.admission.stake import StakeSettings

ADMISSIONS: dict[str, type[AdmissionSettings]] = {
    "stake": StakeSettings,
    "open": Open,
}
