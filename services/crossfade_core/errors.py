"""Every error crossfade raises on purpose, in one tree.

    CrossfadeError
    ├── InvalidSpec                 the job's own words are wrong
    ├── CheckpointError             a safetensors file or index is not what it claims to be
    │   ├── HeaderTooLarge          ├── HeaderTruncated       ├── HeaderMalformed
    │   ├── DuplicateKey            ├── UnknownDtype          ├── ShapeMismatch
    │   ├── BadOffset               ├── TensorOverlap         ├── TensorHole
    │   ├── DataTruncated           ├── TrailingData
    │   ├── IndexMalformed          ├── IndexUnsafePath       ├── IndexMissingFile
    │   ├── IndexMissingTensor      ├── TensorNotIndexed      ├── NoCheckpoint
    │   ├── ConfigMalformed         ├── TokenizerMalformed
    │   └── AdapterMalformed        └── AdapterUnsupported    an adapter of a kind that is not merged
    ├── PlanRefused                 the checkpoints do not pair; every reason is listed
    │   ├── QuantisationUnsupported codes that cannot be turned into numbers here
    │   ├── TokensConflict          one id means two tokens
    │   └── ScheduleRefused         a rule matches no tensor, or a tensor no rule or two
    ├── MergeRefused                what the headers could not tell, found in the numbers
    │   ├── TensorsDiffer           a tensor that must be equal in both parents is not
    │   ├── NonFinite               a number of a parent is none, or infinite
    │   └── OutputOverflow          a result is too large for the output's dtype
    ├── SourceError                 reading a checkpoint
    │   ├── UnknownRoot  ├── PathOutsideRoot  ├── SourceNotFound  ├── SourceChanged
    │   ├── SourceNotAllowed        the server's configuration does not let jobs read there
    │   ├── SourceDenied            the registry does not let this service read
    │   │   └── SourceGated         its owner must grant access first
    │   ├── ShortRead  ├── SourceCorrupted
    │   └── SourceUnavailable
    │       └── SourceRateLimited   the registry asks for patience
    ├── SinkError                   writing an output
    │   ├── UnknownDestination  ├── OutputExists  ├── OutputNameUnsafe  ├── OutputMoved
    │   ├── SinkDenied  ├── StagedFileLost  ├── StagedFileCorrupted  ├── ScratchTooSmall
    │   ├── DestinationNotAllowed   the server's configuration does not let this caller publish there
    │   └── SinkUnavailable
    │       ├── DiskFull            the disk of a destination or of scratch has no room left
    │       └── SinkRateLimited     the registry asks for patience
    ├── JobNotFound, IllegalTransition, JobCancelled, DeadlineExceeded, LeaseLost, AttemptsExhausted
    ├── UnitCrashed                 a fault of ours
    │   └── OutOfMemory             the worker was refused memory
    ├── AlreadyUnderWay, QueueLimitReached, IdempotencyMismatch, RequestInFlight
    ├── KeyNotFound, KeyNameTaken, ScopeMissing
    ├── WebhookNotFound, WebhookRefused, WebhookUnreachable
    ├── StoreUnavailable, QueueUnavailable, ProgramMissing
    ├── WaitTimedOut, WebhookUnverified, SecretMalformed                    the client's own
    └── Reported, ServiceUnreachable, ProcessFailed, StateDirInUse      the command line's own

Each class states a stable `code`, whether trying again can help (`retryable`) and whose move it is (`blame`). HTTP
status codes are no business of this module: see `crossfade_api.problems`.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

Blame = Literal["user", "upstream", "service"]
Detail = str | int | float | bool | None | Sequence[str] | Sequence[Mapping[str, str]]


class CrossfadeError(Exception):
    """An error with a code, a blame and a message that says what to do next.

    Args:
        message: What was expected, what was found, where, and the way out.
        details: Machine-readable facts named in the message (file, tensor, name).
    """

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    blame: ClassVar[Blame] = "service"

    def __init__(self, message: str, **details: Detail) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Detail] = dict(details)

    def as_record(self) -> dict[str, object]:
        """Return the error as the JSON object that the store, the API and the CLI show."""
        return {
            "code": self.code,
            "message": self.message,
            "blame": self.blame,
            "retryable": self.retryable,
            "details": self.details,
        }


class InvalidSpec(CrossfadeError):
    """The job's own words are wrong; `details` names the field."""

    code = "invalid_spec"
    blame: ClassVar[Blame] = "user"


class CheckpointError(CrossfadeError):
    """A checkpoint's file or index is malformed; `details` names the file and, where there is one, the tensor."""

    code = "checkpoint_malformed"
    blame: ClassVar[Blame] = "user"


class HeaderTooLarge(CheckpointError):
    code = "header_too_large"


class HeaderTruncated(CheckpointError):
    code = "header_truncated"


class HeaderMalformed(CheckpointError):
    code = "header_malformed"


class DuplicateKey(CheckpointError):
    code = "duplicate_key"


class UnknownDtype(CheckpointError):
    code = "unknown_dtype"


class ShapeMismatch(CheckpointError):
    code = "shape_offset_mismatch"


class BadOffset(CheckpointError):
    code = "bad_offset"


class TensorOverlap(CheckpointError):
    code = "tensor_overlap"


class TensorHole(CheckpointError):
    code = "tensor_hole"


class DataTruncated(CheckpointError):
    code = "data_truncated"


class TrailingData(CheckpointError):
    code = "trailing_data"


class IndexMalformed(CheckpointError):
    code = "index_malformed"


class IndexUnsafePath(CheckpointError):
    code = "index_unsafe_path"


class IndexMissingFile(CheckpointError):
    code = "index_missing_file"


class IndexMissingTensor(CheckpointError):
    code = "index_missing_tensor"


class TensorNotIndexed(CheckpointError):
    code = "tensor_not_indexed"


class NoCheckpoint(CheckpointError):
    code = "no_checkpoint"


class ConfigMalformed(CheckpointError):
    code = "config_malformed"


class TokenizerMalformed(CheckpointError):
    code = "tokenizer_malformed"


class AdapterMalformed(CheckpointError):
    code = "adapter_malformed"


class AdapterUnsupported(CheckpointError):
    code = "adapter_unsupported"


class PlanRefused(CrossfadeError):
    """The checkpoints do not pair. `details["refusals"]` lists {tensor, reason}; the count is in the message."""

    code = "plan_refused"
    blame: ClassVar[Blame] = "user"


class QuantisationUnsupported(PlanRefused):
    """A checkpoint holds quantised codes of a format that is not dequantised here; the message names the format."""

    code = "quantisation_unsupported"


class TokensConflict(PlanRefused):
    """The parents' tokenizers give one id to two tokens; `details["conflicts"]` lists {id, base, instruct}."""

    code = "tokens_conflict"


class ScheduleRefused(PlanRefused):
    """The schedule does not match every tensor by exactly one rule; `details` names the tensor or the rule."""

    code = "schedule_refused"


class MergeRefused(CrossfadeError):
    """Something in the numbers themselves that the job's policies do not allow; found while streaming."""

    code = "merge_refused"
    blame: ClassVar[Blame] = "user"


class TensorsDiffer(MergeRefused):
    """An integer or bool tensor that must be equal in both parents differs."""

    code = "tensors_differ"


class NonFinite(MergeRefused):
    """NaN or infinity in a parent's tensor; `details` names tensor, parent and how many."""

    code = "non_finite"


class OutputOverflow(MergeRefused):
    """Finite parents gave a result too large for the output's dtype; `details` names tensor, λ and how many."""

    code = "output_overflow"


class SourceError(CrossfadeError):
    """A source could not be read."""

    code = "source_error"
    blame: ClassVar[Blame] = "upstream"


class UnknownRoot(SourceError):
    code = "unknown_root"
    blame: ClassVar[Blame] = "user"


class PathOutsideRoot(SourceError):
    code = "path_outside_root"
    blame: ClassVar[Blame] = "user"


class SourceNotFound(SourceError):
    code = "source_not_found"
    blame: ClassVar[Blame] = "user"


class SourceChanged(SourceError):
    """A source file is not the one that was planned: its size or version moved."""

    code = "source_changed"
    blame: ClassVar[Blame] = "user"


class SourceNotAllowed(SourceError):
    """The server's configuration does not let jobs read there: a bucket or a repository it does not name."""

    code = "source_not_allowed"
    blame: ClassVar[Blame] = "user"


class SourceDenied(SourceError):
    """The registry refused this service: no credential, a wrong or expired one, or one without the right."""

    code = "source_denied"
    blame: ClassVar[Blame] = "user"


class SourceGated(SourceDenied):
    """A gated repository whose owner has not granted access to this service's account."""

    code = "source_gated"


class SourceCorrupted(SourceError):
    """The bytes that came are not those whose digest the registry states."""

    code = "source_corrupted"
    retryable = True


class ShortRead(SourceError):
    """A source gave fewer bytes than it holds by its own account."""

    code = "short_read"
    retryable = True


class SourceUnavailable(SourceError):
    code = "source_unavailable"
    retryable = True


class SourceRateLimited(SourceUnavailable):
    """The registry answered 429 until patience ran out."""

    code = "source_rate_limited"


class SinkError(CrossfadeError):
    """An output could not be written."""

    code = "sink_error"
    blame: ClassVar[Blame] = "service"


class UnknownDestination(SinkError):
    code = "unknown_destination"
    blame: ClassVar[Blame] = "user"


class DestinationNotAllowed(SinkError):
    """The server's configuration does not let the caller's key publish there."""

    code = "destination_not_allowed"
    blame: ClassVar[Blame] = "user"


class OutputExists(SinkError):
    code = "output_exists"
    blame: ClassVar[Blame] = "user"


class OutputNameUnsafe(SinkError):
    code = "output_name_unsafe"
    blame: ClassVar[Blame] = "user"


class OutputMoved(SinkError):
    """Somebody else wrote to the output's place while this job published there; nothing of ours became visible."""

    code = "output_moved"
    blame: ClassVar[Blame] = "user"


class SinkDenied(SinkError):
    """The registry refused this service: the destination's credential is wrong, expired or lacks the right."""

    code = "sink_denied"


class StagedFileLost(SinkError):
    """A file that a unit had staged is not at the destination any more."""

    code = "staged_file_lost"


class StagedFileCorrupted(SinkError):
    """The destination holds other bytes than were written."""

    code = "staged_file_corrupted"
    retryable = True


class ScratchTooSmall(SinkError):
    """The local disk has no room for what the units under way at once need; `details` has both figures."""

    code = "scratch_too_small"


class SinkUnavailable(SinkError):
    """The destination refused a write: full, read-only, away."""

    code = "sink_unavailable"
    retryable = True


class DiskFull(SinkUnavailable):
    """A local disk, the destination's or that of scratch, has no room for what was to be written."""

    code = "disk_full"


class SinkRateLimited(SinkUnavailable):
    """The registry answered 429 until patience ran out."""

    code = "sink_rate_limited"


class JobNotFound(CrossfadeError):
    code = "job_not_found"
    blame: ClassVar[Blame] = "user"


class IllegalTransition(CrossfadeError):
    """A job was asked to move between states that the table of transitions does not join."""

    code = "illegal_transition"
    blame: ClassVar[Blame] = "user"


class JobCancelled(CrossfadeError):
    """The job was cancelled while this work was under way."""

    code = "job_cancelled"
    blame: ClassVar[Blame] = "user"


class DeadlineExceeded(CrossfadeError):
    """A job had not ended when its own deadline came."""

    code = "deadline_exceeded"
    blame: ClassVar[Blame] = "user"


class LeaseLost(CrossfadeError):
    """Somebody else holds the unit now; what this process made of it must be dropped."""

    code = "lease_lost"
    retryable = True


class UnitCrashed(CrossfadeError):
    """A fault of ours ended an attempt at a unit; the worker's log has the traceback, the message only its kind."""

    code = "unit_crashed"
    retryable = True


class OutOfMemory(UnitCrashed):
    """A worker asked the system, or its GPU, for memory and was refused."""

    code = "out_of_memory"


class AttemptsExhausted(CrossfadeError):
    """A unit was begun as often as allowed and never ended; its workers died under it."""

    code = "attempts_exhausted"


class AlreadyUnderWay(CrossfadeError):
    """The same merge is under way already; `details["job"]` is the job that makes it."""

    code = "already_under_way"
    blame: ClassVar[Blame] = "user"


class QueueLimitReached(CrossfadeError):
    """The caller's key has as many unfinished jobs as it may have."""

    code = "queue_limit_reached"
    retryable = True


class IdempotencyMismatch(CrossfadeError):
    """An idempotency key came with another body than the first time."""

    code = "idempotency_mismatch"
    blame: ClassVar[Blame] = "user"


class RequestInFlight(CrossfadeError):
    """The request with this idempotency key is being answered at this moment."""

    code = "request_in_flight"
    retryable = True


class KeyNotFound(CrossfadeError):
    code = "key_not_found"
    blame: ClassVar[Blame] = "user"


class KeyNameTaken(CrossfadeError):
    code = "key_name_taken"
    blame: ClassVar[Blame] = "user"


class ScopeMissing(CrossfadeError):
    """The caller's key does not have the scope that the call needs."""

    code = "scope_missing"
    blame: ClassVar[Blame] = "user"


class WebhookNotFound(CrossfadeError):
    """There is no such webhook, or none of the caller's; `GET /v1/webhooks` lists those there are."""

    code = "webhook_not_found"
    blame: ClassVar[Blame] = "user"


class WebhookRefused(CrossfadeError):
    """A webhook that this service does not send to: its URL, its owner's number of them, or none are sent at all."""

    code = "webhook_refused"
    blame: ClassVar[Blame] = "user"


class WebhookUnreachable(CrossfadeError):
    """A webhook's receiver did not answer; in the log of its deliveries. It is sent again for a day."""

    code = "webhook_unreachable"
    retryable = True
    blame: ClassVar[Blame] = "user"


class StoreUnavailable(CrossfadeError):
    code = "store_unavailable"
    retryable = True


class QueueUnavailable(CrossfadeError):
    code = "queue_unavailable"
    retryable = True


class ProgramMissing(CrossfadeError):
    """A program or package that this command needs is not installed; the message names it."""

    code = "program_missing"
    blame: ClassVar[Blame] = "user"


class Reported(CrossfadeError):
    """An error that another process raised and reported as a record, shown unchanged.

    `code`, `blame` and `retryable` are the reported error's own, where the record states them.

    Args:
        record: What `CrossfadeError.as_record` returned over there, or a problem+json body.
    """

    code = "reported"

    def __init__(self, message: str, record: Mapping[str, object]) -> None:
        super().__init__(message)
        self.record = dict(record)
        # What every other class states of itself, this one learns.
        vars(self).update({name: record[name] for name in ("code", "blame", "retryable") if name in record})

    def as_record(self) -> dict[str, object]:
        """Return the record as it was reported."""
        return {**super().as_record(), **self.record}


class ServiceUnreachable(CrossfadeError):
    """No crossfade service answers at the URL given."""

    code = "service_unreachable"
    retryable = True
    blame: ClassVar[Blame] = "upstream"


class WaitTimedOut(CrossfadeError):
    """What was waited for did not come about in the time given; it may still. Wait again, or longer."""

    code = "wait_timed_out"
    retryable = True


class WebhookUnverified(CrossfadeError):
    """A message was not signed with the webhook's secret, is older than five minutes, or is no message of ours."""

    code = "webhook_unverified"
    blame: ClassVar[Blame] = "upstream"


class SecretMalformed(CrossfadeError):
    """A webhook's secret is not of the form `whsec_<base64>`; it is shown once, when the webhook is made."""

    code = "secret_malformed"
    blame: ClassVar[Blame] = "user"


class ProcessFailed(CrossfadeError):
    """A process that this command started ended, or did not become ready in time."""

    code = "process_failed"


class StateDirInUse(CrossfadeError):
    """Another `crossfade serve` holds the state directory."""

    code = "state_dir_in_use"
    blame: ClassVar[Blame] = "user"
