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
    │   ├── AdapterMalformed        ├── AdapterUnsupported    an adapter of a kind that is not merged
    │   └── SignatureMalformed      └── SignatureUnsupported  a signature of a kind that is not checked
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
    │   ├── SignatureInvalid        no trusted key has signed what is there
    │   ├── SourceUnsigned          nobody has, and a signature is required
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
    ├── OutputNotFound, OutputRejected, LineageDiffers                      deciding about outputs
    ├── UnitCrashed                 a fault of ours
    │   └── OutOfMemory             the worker was refused memory
    ├── AlreadyUnderWay, QueueLimitReached, RateLimited, IdempotencyMismatch, RequestInFlight
    ├── LineageNotFound
    ├── KeyNotFound, KeyNameTaken, ScopeMissing
    ├── WebhookNotFound, WebhookRefused, WebhookUnreachable
    ├── SigningFailed, KeyMalformed
    ├── StoreUnavailable, QueueUnavailable, ProgramMissing
    ├── WaitTimedOut, WebhookUnverified, SecretMalformed                    the client's own
    └── Reported, ServiceUnreachable, ProcessFailed, StateDirInUse      the command line's own

Each class states a stable `code`, whether trying again can help (`retryable`) and whose move it is (`blame`). HTTP
status codes are no business of this module: see `crossfade_api.problems`.

The docstrings are for users of the service: the first line says when it happens, the next paragraph what to do.
docs/errors.md and `GET /problems` are made of them.
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
    """The request is not as it must be: a field is missing, misspelt, of the wrong type or out of range.

    Correct the places that `errors` names, then send it again.
    """

    code = "invalid_spec"
    blame: ClassVar[Blame] = "user"


class CheckpointError(CrossfadeError):
    """A checkpoint's file is not as its format says; `details` names the file and, where there is one, the tensor.

    Read the message: a file that was cut or damaged is copied again, one that was written wrongly is exported again.
    """

    code = "checkpoint_malformed"
    blame: ClassVar[Blame] = "user"


class HeaderTooLarge(CheckpointError):
    """A file announces a header longer than the 100 000 000 bytes that the safetensors format allows.

    Give a safetensors file; if it is meant to be one, it is damaged: copy it again.
    """

    code = "header_too_large"


class HeaderTruncated(CheckpointError):
    """A safetensors file ends before its header does.

    Copy or download the file again.
    """

    code = "header_truncated"


class HeaderMalformed(CheckpointError):
    """The header of a safetensors file is no JSON object of tensors as the format defines it.

    Copy the file again; if it stays, export the checkpoint again.
    """

    code = "header_malformed"


class DuplicateKey(CheckpointError):
    """A name stands twice in one JSON object of a checkpoint, and parsers differ in which of the two they take.

    Export the checkpoint again, or correct the file that the message names.
    """

    code = "duplicate_key"


class UnknownDtype(CheckpointError):
    """A tensor states a dtype that the safetensors format does not have.

    Export the checkpoint again with a current release of safetensors.
    """

    code = "unknown_dtype"


class ShapeMismatch(CheckpointError):
    """A tensor's dtype and shape need another number of bytes than its offsets span.

    Export the checkpoint again.
    """

    code = "shape_offset_mismatch"


class BadOffset(CheckpointError):
    """A tensor's `data_offsets` are not a begin and an end in bytes.

    Export the checkpoint again.
    """

    code = "bad_offset"


class TensorOverlap(CheckpointError):
    """Two tensors of a safetensors file share bytes.

    Export the checkpoint again.
    """

    code = "tensor_overlap"


class TensorHole(CheckpointError):
    """Bytes between two tensors of a safetensors file belong to neither.

    Export the checkpoint again.
    """

    code = "tensor_hole"


class DataTruncated(CheckpointError):
    """A safetensors file ends before its last tensor does.

    Copy or download the file again.
    """

    code = "data_truncated"


class TrailingData(CheckpointError):
    """A safetensors file goes on after its last tensor.

    Copy the file again; if it stays, export the checkpoint again.
    """

    code = "trailing_data"


class IndexMalformed(CheckpointError):
    """A checkpoint's index is no JSON object with a `weight_map` of tensors to files, or is too large.

    Export the checkpoint again.
    """

    code = "index_malformed"


class IndexUnsafePath(CheckpointError):
    """A checkpoint's index names a path where a plain `.safetensors` name beside the index is expected.

    Put the files beside the index and export it again; do not trust a checkpoint whose index leads elsewhere.
    """

    code = "index_unsafe_path"


class IndexMissingFile(CheckpointError):
    """A checkpoint's index names a file that is not there.

    Fetch the file; the download may be incomplete.
    """

    code = "index_missing_file"


class IndexMissingTensor(CheckpointError):
    """A checkpoint's index puts a tensor into a file that does not hold it.

    Take index and files from one export.
    """

    code = "index_missing_tensor"


class TensorNotIndexed(CheckpointError):
    """A file of a checkpoint holds a tensor that the index does not put there.

    Take index and files from one export, and remove what an older one left.
    """

    code = "tensor_not_indexed"


class NoCheckpoint(CheckpointError):
    """No safetensors checkpoint is there, or it cannot be told which files it is made of.

    Check the path; save pickle weights (`.bin`, `.pt`) again as safetensors, and add an index to several files.
    """

    code = "no_checkpoint"


class ConfigMalformed(CheckpointError):
    """A checkpoint's `config.json` is no JSON object as transformers writes it.

    Copy or export it again, or correct what the message names.
    """

    code = "config_malformed"


class TokenizerMalformed(CheckpointError):
    """A file of a checkpoint's tokenizer cannot be read as what its name says.

    Copy or export the tokenizer again.
    """

    code = "tokenizer_malformed"


class AdapterMalformed(CheckpointError):
    """A PEFT adapter's files contradict their format, or its tensors do not fit the base.

    Give the base that the adapter was made for, or save the adapter again.
    """

    code = "adapter_malformed"


class AdapterUnsupported(CheckpointError):
    """The adapter is of a kind, or stands in a place, that is not merged here; the message says which.

    Merge the adapter into its base with PEFT (`merge_and_unload`) and give the result as the instruct side.
    """

    code = "adapter_unsupported"


class SignatureMalformed(CheckpointError):
    """A `model.sig` or a provenance envelope is not as its format says, or contradicts itself.

    Copy or download the file again; if it stays, do not trust what it signs, and sign the checkpoint again.
    """

    code = "signature_malformed"


class SignatureUnsupported(CheckpointError):
    """A `model.sig` is of a kind that is not read here: digests of shards of files, or other than SHA-256.

    Check it with the tool that made it (`model_signing verify`), or sign again with the method `files` and SHA-256.
    """

    code = "signature_unsupported"


class PlanRefused(CrossfadeError):
    """The checkpoints do not pair; `details["refusals"]` lists tensors and reasons.

    Give two checkpoints of one architecture, or allow what was found with the policy that the reason names.
    """

    code = "plan_refused"
    blame: ClassVar[Blame] = "user"


class QuantisationUnsupported(PlanRefused):
    """A checkpoint holds quantised codes of a format that is not turned into numbers here.

    Give the checkpoint in a floating-point dtype, or in scaled fp8.
    """

    code = "quantisation_unsupported"


class TokensConflict(PlanRefused):
    """The tokenizers give one id to two tokens, or cannot be compared; `details["conflicts"]` lists such ids.

    Give parents with one vocabulary, or set `policies.tokens` to `ignore` if the difference is known to be harmless.
    """

    code = "tokens_conflict"


class ScheduleRefused(PlanRefused):
    """The schedule does not match every tensor by exactly one rule; `details` names the tensor or the rule.

    Correct the pattern, make two patterns disjoint, or add a last rule `*` for the rest.
    """

    code = "schedule_refused"


class MergeRefused(CrossfadeError):
    """Something in the numbers, found while they were merged, is not what the job's policies allow.

    Read the message: correct the checkpoint, or allow it with the policy named there.
    """

    code = "merge_refused"
    blame: ClassVar[Blame] = "user"


class TensorsDiffer(MergeRefused):
    """An integer or bool tensor, which cannot be interpolated, differs between the parents.

    Give parents that agree, or set `policies.integers` to the parent whose tensor to copy.
    """

    code = "tensors_differ"


class NonFinite(MergeRefused):
    """A parent's tensor holds NaN or infinity; `details` names tensor, parent and how many.

    Correct the checkpoint, or set `policies.non_finite` to `keep`.
    """

    code = "non_finite"


class OutputOverflow(MergeRefused):
    """Finite parents gave a result too large for the output's dtype; `details` names tensor, λ and how many.

    Set `out_dtype` to a wider one, leave out that λ, or set `policies.overflow` to `keep`.
    """

    code = "output_overflow"


class SourceError(CrossfadeError):
    """A source could not be read, for a reason that trying again does not cure.

    Read the message; it says what the registry answered.
    """

    code = "source_error"
    blame: ClassVar[Blame] = "upstream"


class UnknownRoot(SourceError):
    """A source names a root or a bucket that the server's configuration does not have.

    Choose one of those that the message lists, or ask the operator to add it.
    """

    code = "unknown_root"
    blame: ClassVar[Blame] = "user"


class PathOutsideRoot(SourceError):
    """A source's path or a link in it leads out of its root.

    Copy the files below the root.
    """

    code = "path_outside_root"
    blame: ClassVar[Blame] = "user"


class SourceNotFound(SourceError):
    """There is no such folder, object, repository, revision or file, or the service may not see it.

    Check the spelling, and that the service's account may read it.
    """

    code = "source_not_found"
    blame: ClassVar[Blame] = "user"


class SourceChanged(SourceError):
    """A source's file is not the one that was planned: it was replaced while the job waited or ran.

    Submit the job again; it is planned anew from what is there now.
    """

    code = "source_changed"
    blame: ClassVar[Blame] = "user"


class SourceNotAllowed(SourceError):
    """The server's configuration does not let jobs read that bucket or repository.

    Choose one that the message lists, or ask the operator to allow it.
    """

    code = "source_not_allowed"
    blame: ClassVar[Blame] = "user"


class SourceDenied(SourceError):
    """The registry refused this service: no credential, a wrong or expired one, or one without the right.

    Ask the operator to give the service a credential that may read there.
    """

    code = "source_denied"
    blame: ClassVar[Blame] = "user"


class SourceGated(SourceDenied):
    """The repository is gated, and its owner has not granted access to this service's account.

    Ask for access on the Hub with the account whose token the service uses.
    """

    code = "source_gated"


class SourceCorrupted(SourceError):
    """The bytes that came are not those whose digest or size the registry states.

    It is tried again by itself; if the job fails of it, upload the file again.
    """

    code = "source_corrupted"
    retryable = True


class ShortRead(SourceError):
    """A source gave fewer bytes than it holds by its own account.

    It is tried again by itself; if the job fails of it, look whether the file was cut, and retry the job.
    """

    code = "short_read"
    retryable = True


class SignatureInvalid(SourceError):
    """No key that is trusted has signed what is there: it was signed by another one, or changed since.

    Give the public key of who made it, from a place you trust; if that is the one, do not use what is there.
    """

    code = "signature_invalid"
    blame: ClassVar[Blame] = "user"


class SourceUnsigned(SourceError):
    """A source has no signature, and this server takes signed sources only.

    Sign it with a key that the server trusts, or use a source that is signed.
    """

    code = "source_unsigned"
    blame: ClassVar[Blame] = "user"


class SourceUnavailable(SourceError):
    """A source's registry or file system did not answer, or answered with an error of its own.

    Try again later: send the request again, or retry the job that failed of it.
    """

    code = "source_unavailable"
    retryable = True


class SourceRateLimited(SourceUnavailable):
    """The registry of a source answered 429 until this service's patience ran out.

    Try again later, or ask the operator for a credential with a higher limit there.
    """

    code = "source_rate_limited"


class SinkError(CrossfadeError):
    """An output could not be written, for a reason that trying again does not cure.

    Read the message; it says what the registry answered.
    """

    code = "sink_error"
    blame: ClassVar[Blame] = "service"


class UnknownDestination(SinkError):
    """The server's configuration has no destination of that name.

    Choose one of those that the message lists, or ask the operator to add it.
    """

    code = "unknown_destination"
    blame: ClassVar[Blame] = "user"


class DestinationNotAllowed(SinkError):
    """The server's configuration does not let the caller's key publish there.

    Choose a destination that the message lists, or ask the operator to name the key among its users.
    """

    code = "destination_not_allowed"
    blame: ClassVar[Blame] = "user"


class OutputExists(SinkError):
    """Something stands already where an output would go, or another job publishes there.

    Choose another `output_name`, or set `overwrite` to replace an earlier output.
    """

    code = "output_exists"
    blame: ClassVar[Blame] = "user"


class OutputNameUnsafe(SinkError):
    """An output's name cannot be used at the destination, or what stands there is no earlier output.

    Choose another `output_name`; the message says what the destination takes.
    """

    code = "output_name_unsafe"
    blame: ClassVar[Blame] = "user"


class OutputMoved(SinkError):
    """Somebody else wrote to the output's place while this job published there; nothing of ours became visible.

    Look at what stands there, then choose another `output_name` or submit again with `overwrite`.
    """

    code = "output_moved"
    blame: ClassVar[Blame] = "user"


class SinkDenied(SinkError):
    """The registry refused this service: the destination's credential is wrong, expired or lacks the right.

    Ask the operator to give the destination a credential that may write there, then retry the job.
    """

    code = "sink_denied"


class StagedFileLost(SinkError):
    """A file that a unit had staged is not at the destination any more.

    Submit the job again; if it happens again, look for what deletes staged files early, such as a lifecycle rule.
    """

    code = "staged_file_lost"


class StagedFileCorrupted(SinkError):
    """The destination holds other bytes than were written there.

    A unit that finds it is tried again by itself; if the job fails of it, look at the destination's storage, then retry
    the job.
    """

    code = "staged_file_corrupted"
    retryable = True


class ScratchTooSmall(SinkError):
    """The worker's disk has no room for what the units under way at once need; `details` has both figures.

    Ask for fewer λ at once, or ask the operator for a larger scratch disk or fewer units at once.
    """

    code = "scratch_too_small"


class SinkUnavailable(SinkError):
    """A destination refused a write or did not answer: it is away, read-only or not there.

    Try again later, or retry the job that failed of it; if it stays, ask the operator to look at the destination.
    """

    code = "sink_unavailable"
    retryable = True


class DiskFull(SinkUnavailable):
    """A local disk, the destination's or that of scratch, has no room for what was to be written.

    Make room there, then retry the job.
    """

    code = "disk_full"


class SinkRateLimited(SinkUnavailable):
    """The registry of a destination answered 429 until this service's patience ran out.

    Retry the job later, or ask the operator for a credential with a higher limit there.
    """

    code = "sink_rate_limited"


class JobNotFound(CrossfadeError):
    """There is no job of that id.

    Look the id up with `GET /v1/merges`.
    """

    code = "job_not_found"
    blame: ClassVar[Blame] = "user"


class IllegalTransition(CrossfadeError):
    """The job's state does not allow what was asked, such as to cancel a job that has ended.

    Read the job again and ask for what its state allows.
    """

    code = "illegal_transition"
    blame: ClassVar[Blame] = "user"


class OutputNotFound(CrossfadeError):
    """The job has no output at that position.

    Read the job: each of its `outputs` says its `position`.
    """

    code = "output_not_found"
    blame: ClassVar[Blame] = "user"


class OutputRejected(CrossfadeError):
    """Somebody rejected the output while it waited for approval; it was not published.

    Read the reason. A retry of the job stages it again, to be decided anew; for other numbers, submit another job.
    """

    code = "output_rejected"
    blame: ClassVar[Blame] = "user"


class LineageDiffers(CrossfadeError):
    """The decision is about another content: its `lineage_sha256` is not the digest of the output's lineage.json.

    Read the job again, look at what the output is now, and decide about that.
    """

    code = "lineage_differs"
    blame: ClassVar[Blame] = "user"


class JobCancelled(CrossfadeError):
    """The job was cancelled while this work was under way.

    Submit it again if it is wanted after all.
    """

    code = "job_cancelled"
    blame: ClassVar[Blame] = "user"


class DeadlineExceeded(CrossfadeError):
    """The job had not ended when its own deadline came.

    Retry it, for its deadline begins anew and what is done is kept; or submit it with a longer `deadline_seconds`.
    """

    code = "deadline_exceeded"
    blame: ClassVar[Blame] = "user"


class LeaseLost(CrossfadeError):
    """Another worker holds the unit now, and what this one made of it is dropped.

    Nothing is to be done: the other worker goes on with it.
    """

    code = "lease_lost"
    retryable = True


class UnitCrashed(CrossfadeError):
    """A fault of ours ended an attempt at a unit; the worker's log has the traceback, the message only its kind.

    It is tried again by itself; if the job fails of it, give the operator the job's id, and retry it once cured.
    """

    code = "unit_crashed"
    retryable = True


class OutOfMemory(UnitCrashed):
    """A worker asked the system, or its GPU, for memory and was refused.

    It is tried again by itself; if the job fails of it, ask the operator for a worker with more memory, then retry it.
    """

    code = "out_of_memory"


class AttemptsExhausted(CrossfadeError):
    """A unit was begun as often as allowed and never ended: its workers died under it.

    Ask the operator what kills the workers, often a limit of memory; then retry the job.
    """

    code = "attempts_exhausted"


class AlreadyUnderWay(CrossfadeError):
    """The same merge is under way already; `details["job"]` is the job that makes it.

    Follow that job, or submit with `fresh` to make it again.
    """

    code = "already_under_way"
    blame: ClassVar[Blame] = "user"


class QueueLimitReached(CrossfadeError):
    """The caller's key has as many unfinished jobs as it may have.

    Wait for one to end or cancel one, then send the request again; or ask the operator for more.
    """

    code = "queue_limit_reached"
    retryable = True


class RateLimited(CrossfadeError):
    """The caller has sent as many requests in this minute as its key, or the server's configuration, allows.

    Send the request again after `Retry-After` seconds, and fewer of them; or ask the operator for more.
    """

    code = "rate_limited"
    retryable = True


class IdempotencyMismatch(CrossfadeError):
    """An idempotency key came with another body than the first time.

    Take a new key for a new request.
    """

    code = "idempotency_mismatch"
    blame: ClassVar[Blame] = "user"


class RequestInFlight(CrossfadeError):
    """The request with this idempotency key is being answered at this moment.

    Send it again after some seconds; the answer will be the job of the first.
    """

    code = "request_in_flight"
    retryable = True


class LineageNotFound(CrossfadeError):
    """No output that this service published, and no source of one, has that digest or lies at that URI.

    Give a file's SHA-256, a checkpoint's digest, or a `uri` as a job shows it. Outputs that were published before the
    service kept the graph tell of themselves in their `lineage.json`.
    """

    code = "lineage_not_found"
    blame: ClassVar[Blame] = "user"


class KeyNotFound(CrossfadeError):
    """There is no API key of that name.

    Look the name up with `GET /v1/keys`.
    """

    code = "key_not_found"
    blame: ClassVar[Blame] = "user"


class KeyNameTaken(CrossfadeError):
    """Another API key has that name, or had it: names are not used again.

    Choose another name.
    """

    code = "key_name_taken"
    blame: ClassVar[Blame] = "user"


class ScopeMissing(CrossfadeError):
    """The caller's key does not have the scope that the call needs.

    Use a key with the scope that `details` names.
    """

    code = "scope_missing"
    blame: ClassVar[Blame] = "user"


class WebhookNotFound(CrossfadeError):
    """There is no such webhook or delivery, or none of the caller's.

    Look the id up with `GET /v1/webhooks`, or with the `deliveries` of the webhook.
    """

    code = "webhook_not_found"
    blame: ClassVar[Blame] = "user"


class WebhookRefused(CrossfadeError):
    """A webhook that this service does not send to: its URL, its owner's number of them, or none are sent at all.

    Give an https URL at a public address, delete a webhook, or ask the operator for what the message names.
    """

    code = "webhook_refused"
    blame: ClassVar[Blame] = "user"


class WebhookUnreachable(CrossfadeError):
    """A webhook's receiver did not answer, or its name does not resolve; its log of deliveries says so.

    It is sent again for a day; look after the receiver, and replay what it has missed.
    """

    code = "webhook_unreachable"
    retryable = True
    blame: ClassVar[Blame] = "upstream"


class SigningFailed(CrossfadeError):
    """A signing key or command gave no signature that its public key verifies; nothing was published with it.

    Try again later, or retry the job; if it stays, ask the operator to look at the key or the command that holds it.
    """

    code = "signing_failed"
    retryable = True


class KeyMalformed(CrossfadeError):
    """A key is not an EC P-256 key in PEM, or not of the kind expected, public or private.

    Give the file that the message describes; `crossfade keygen` makes a pair.
    """

    code = "key_malformed"
    blame: ClassVar[Blame] = "user"


class StoreUnavailable(CrossfadeError):
    """The database did not answer, or its schema is of another release than this code.

    Try again later; if it stays, ask the operator to look at the database and to run the migrations.
    """

    code = "store_unavailable"
    retryable = True


class QueueUnavailable(CrossfadeError):
    """The broker did not answer; jobs are accepted all the same and begin when it is back.

    Try again later; if it stays, ask the operator to look at the broker.
    """

    code = "queue_unavailable"
    retryable = True


class ProgramMissing(CrossfadeError):
    """A program, a package or a device that this command or worker needs is not there.

    Install what the message names.
    """

    code = "program_missing"
    blame: ClassVar[Blame] = "user"


class Reported(CrossfadeError):
    """An error that another process reported as a record, shown with the code that it has there.

    Look up that code; `unexpected_answer` is an answer that is none of crossfade's: check `--url`.

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
    """No crossfade service answers at the URL given.

    Start one with `crossfade serve`, or give the address of one with `--url`.
    """

    code = "service_unreachable"
    retryable = True
    blame: ClassVar[Blame] = "upstream"


class WaitTimedOut(CrossfadeError):
    """What was waited for did not come about in the time given.

    It may still: wait again, or longer.
    """

    code = "wait_timed_out"
    retryable = True


class WebhookUnverified(CrossfadeError):
    """A message was not signed with the webhook's secret, is older than five minutes, or is no message of ours.

    Do not act on it; if it should be genuine, compare the secret with the webhook's and the clocks with each other.
    """

    code = "webhook_unverified"
    blame: ClassVar[Blame] = "upstream"


class SecretMalformed(CrossfadeError):
    """A webhook's secret is not of the form `whsec_<base64>`.

    It is shown once, when the webhook is made; `crossfade webhooks rotate` gives it a new one.
    """

    code = "secret_malformed"
    blame: ClassVar[Blame] = "user"


class ProcessFailed(CrossfadeError):
    """A process that this command started ended, or did not become ready in time.

    Read the end of its log, which the message shows.
    """

    code = "process_failed"


class StateDirInUse(CrossfadeError):
    """Another `crossfade serve` holds the state directory.

    Stop that one, or give this one a `--state-dir` of its own.
    """

    code = "state_dir_in_use"
    blame: ClassVar[Blame] = "user"
