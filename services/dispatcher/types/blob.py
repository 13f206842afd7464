"""urn:ietf:params:jmap:blob (RFC 9404)."""

from collections.abc import Iterable

from services.dispatcher.methods.blob import DATA_SOURCES_MAX, DIGESTS
from services.dispatcher.methods.declaration import DeclaredType
from shared.jmap.i_json import JsonObject
from shared.jmap.session import Capability, CoreLimits

BLOB = "urn:ietf:params:jmap:blob"


def blob_capability(limits: CoreLimits, types: Iterable[DeclaredType]) -> Capability:
    account: JsonObject = {
        "maxSizeBlobSet": limits.max_size_upload,
        "maxDataSources": DATA_SOURCES_MAX,
        "supportedTypeNames": [item.name for item in types if item.blobs is not None],
        "supportedDigestAlgorithms": list(DIGESTS),
    }
    return Capability(urn=BLOB, session={}, account=account)
