"""What the types of JMAP's errors mean here, and what a client does about them."""

from collections.abc import Mapping

REQUEST: Mapping[str, str] = {
    "notJSON": "The body is no I-JSON, not of `application/json`, or did not arrive in time.",
    "notRequest": "The body is JSON, but no Request.",
    "unknownCapability": "`using` names what the session does not have; read the session again.",
    "limit": "More than `limit` of the session's core capability allows; with 429: later.",
    "invalidArguments": "Of an append: a member is missing or wrong, or an Idempotency-Key was used "
    "for another request.",
    "accountNotFound": "Of an append: there is none of its accounts.",
    "overQuota": "Of an append: the account has states of as many types as it may.",
    "forbidden": "Of an append: it names a type that this server owns itself.",
    "serverFail": "A fault of the server; the log has it under the X-Request-Id.",
    "serverUnavailable": "PostgreSQL, the log or a dispatcher is away; try again after Retry-After.",
}

METHOD: Mapping[str, str] = {
    "accountNotFound": "There is no such account, or the user may not see it.",
    "accountNotSupportedByMethod": "The account has nothing of this method's type.",
    "accountReadOnly": "The user may read the account only.",
    "anchorNotFound": "The anchor is not among the results of the query.",
    "cannotCalculateChanges": "The state is too old or unknown: fetch everything anew.",
    "forbidden": "The user may not do this.",
    "fromAccountNotFound": "As accountNotFound, of `fromAccountId`.",
    "fromAccountNotSupportedByMethod": "As accountNotSupportedByMethod, of `fromAccountId`.",
    "invalidArguments": "An argument is missing, of a wrong type, or unknown; `description` names it.",
    "invalidResultReference": "A result reference leads nowhere, as the call before failed or differs.",
    "requestTooLarge": "More objects than the session allows in one call: make it several.",
    "serverFail": "A fault of the server, which the log has under the id of the description.",
    "serverPartialFail": "Some of it may have been done: synchronise.",
    "serverUnavailable": "PostgreSQL or the method's service is away; try again.",
    "stateMismatch": "`ifInState` is not the state: synchronise, and try again.",
    "tooManyChanges": "More than `maxChanges` fit: ask again without it, or for fewer.",
    "unknownDataType": "Blob/lookup knows no such type.",
    "unknownMethod": "There is no such method, or `using` lacks its capability.",
    "unsupportedFilter": "The filter names what cannot be filtered by.",
    "unsupportedSort": "The sort names what cannot be sorted by.",
}

SET: Mapping[str, str] = {
    "addressBookHasContents": "Not destroyed: it has cards; see `onDestroyRemoveContents`.",
    "alreadyExists": "There is one already: `existingId`.",
    "forbidden": "The user may not do this to this record.",
    "invalidProperties": "`properties` names what is wrong.",
    "notFound": "There is no such record.",
    "overQuota": "There are as many as may be.",
    "rateLimit": "Too many were made lately; try again later.",
    "tooLarge": "The record is larger than may be.",
    "willDestroy": "The same call destroys it.",
    "invalidPatch": "The patch does not fit the record.",
}
