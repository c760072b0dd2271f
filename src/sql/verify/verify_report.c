/*
 * verify_report.c
 *	  Findings of verity_verify() as rows of its result.
 *
 * Of each kind for each object, FINDINGS_MAX are rows of their own; the rest
 * are counted in one more row at the end, so that a table that was cut short
 * does not answer with a row for every record.
 */
#include "postgres.h"

#include "funcapi.h"
#include "sql/verify/verify.h"
#include "utils/builtins.h"

#define FINDINGS_MAX 100
#define FINDING_COLUMNS 8

typedef struct FindingKind
{
	char		check[32];		/* hash key, with object, zero-padded */
	char		object[2 * NAMEDATALEN + 8];
	VerifySeverity severity;
	uint64		count;
} FindingKind;

struct VerifyReport
{
	ReturnSetInfo *rsinfo;
	HTAB	   *kinds;
	uint64		errors;
};

/* Ready the function's result, and what counts its findings. */
VerifyReport *
verify_report_begin(FunctionCallInfo fcinfo)
{
	VerifyReport *report = palloc0(sizeof(VerifyReport));
	HASHCTL		info = {0};

	InitMaterializedSRF(fcinfo, 0);
	report->rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	info.keysize = offsetof(FindingKind, severity);
	info.entrysize = sizeof(FindingKind);
	info.hcxt = CurrentMemoryContext;
	report->kinds = hash_create("verity findings", 64, &info,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return report;
}

static const char *
severity_name(VerifySeverity severity)
{
	switch (severity)
	{
		case VERIFY_INFO:
			return "info";
		case VERIFY_WARNING:
			return "warning";
		case VERIFY_ERROR:
			break;
	}
	return "error";
}

static Datum
text_or_null(const char *s, bool *isnull)
{
	*isnull = (s[0] == '\0');
	return *isnull ? (Datum) 0 : CStringGetTextDatum(s);
}

/* Make one row. */
static void
put_row(VerifyReport *report, const VerifyFinding *f)
{
	Datum		values[FINDING_COLUMNS] = {0};
	bool		nulls[FINDING_COLUMNS] = {0};

	values[0] = CStringGetTextDatum(severity_name(f->severity));
	values[1] = CStringGetTextDatum(f->check);
	values[2] = text_or_null(f->object, &nulls[2]);
	nulls[3] = (f->position == 0);
	values[3] = Int64GetDatum((int64) f->position);
	values[4] = text_or_null(f->record, &nulls[4]);
	values[5] = text_or_null(f->expected, &nulls[5]);
	values[6] = text_or_null(f->found, &nulls[6]);
	values[7] = text_or_null(f->detail, &nulls[7]);
	tuplestore_putvalues(report->rsinfo->setResult, report->rsinfo->setDesc, values, nulls);
}

/* Count a finding of this kind, and give it a row unless there are many. */
void
verify_report_add(VerifyReport *report, const VerifyFinding *finding)
{
	FindingKind key = {0};
	FindingKind *kind;
	bool		known;

	if (finding->severity != VERIFY_INFO)
		report->errors++;
	strlcpy(key.check, finding->check, sizeof(key.check));
	strlcpy(key.object, finding->object, sizeof(key.object));
	kind = hash_search(report->kinds, &key, HASH_ENTER, &known);
	if (!known)
	{
		kind->severity = finding->severity;
		kind->count = 0;
	}
	kind->count++;
	if (kind->count <= FINDINGS_MAX)
		put_row(report, finding);
}

/* Findings so far that are more than information. */
uint64
verify_report_errors(const VerifyReport *report)
{
	return report->errors;
}

/* Say how many findings got no row of their own. */
void
verify_report_end(VerifyReport *report)
{
	HASH_SEQ_STATUS seq;
	FindingKind *kind;

	hash_seq_init(&seq, report->kinds);
	while ((kind = hash_seq_search(&seq)) != NULL)
	{
		VerifyFinding f;

		if (kind->count <= FINDINGS_MAX)
			continue;
		verify_finding_init(&f, kind->severity, kind->check, kind->object, 0);
		snprintf(f.detail, sizeof(f.detail), "and " UINT64_FORMAT " more of this kind",
				 kind->count - FINDINGS_MAX);
		put_row(report, &f);
	}
}

/* A finding with nothing but its kind; the caller fills in the rest. */
void
verify_finding_init(VerifyFinding *f, VerifySeverity severity, const char *check,
					const char *object, uint64 position)
{
	memset(f, 0, sizeof(*f));
	f->severity = severity;
	f->position = position;
	strlcpy(f->check, check, sizeof(f->check));
	strlcpy(f->object, object, sizeof(f->object));
}

/* Bytes in hexadecimal, as many as fit. */
void
verify_hex(char *out, Size out_size, const void *bytes, Size len)
{
	const uint8 *p = bytes;
	Size		i;

	for (i = 0; i < len && 2 * i + 2 < out_size; i++)
		snprintf(out + 2 * i, 3, "%02x", p[i]);
	out[2 * i] = '\0';
}

/* "(serial,sequence)" */
void
verify_record_name(char *out, Size size, uint64 serial, uint32 sequence)
{
	snprintf(out, size, "(" UINT64_FORMAT ",%u)", serial, sequence);
}

/* A finding about the table at hand. */
void
verify_table_finding(VerifyTable *table, const char *check, VerityPosition position,
					 const char *record, const char *expected, const char *found,
					 const char *detail,...)
{
	VerifyFinding f;
	va_list		args;

	if (table->trial)
	{
		table->irregular = true;
		return;
	}
	verify_finding_init(&f, VERIFY_ERROR, check, table->object, position);
	if (record)
		strlcpy(f.record, record, sizeof(f.record));
	if (expected)
		strlcpy(f.expected, expected, sizeof(f.expected));
	if (found)
		strlcpy(f.found, found, sizeof(f.found));
	va_start(args, detail);
	vsnprintf(f.detail, sizeof(f.detail), detail, args);
	va_end(args);
	table->findings++;
	verify_report_add(table->ctx->report, &f);
}

static void object_finding(VerifyContext *ctx, const char *object, const char *check,
						   VerityPosition position, const char *expected, const char *found,
						   const char *detail, va_list args) pg_attribute_printf(7, 0);

static void
object_finding(VerifyContext *ctx, const char *object, const char *check, VerityPosition position,
			   const char *expected, const char *found, const char *detail, va_list args)
{
	VerifyFinding f;

	if (position != 0 && !verify_in_range(ctx, position))
		return;
	verify_finding_init(&f, VERIFY_ERROR, check, object, position);
	if (expected)
		strlcpy(f.expected, expected, sizeof(f.expected));
	if (found)
		strlcpy(f.found, found, sizeof(f.found));
	vsnprintf(f.detail, sizeof(f.detail), detail, args);
	ctx->journal_errors++;
	verify_report_add(ctx->report, &f);
}

/* A finding about the journal. */
void
verify_journal_finding(VerifyContext *ctx, const char *check, VerityPosition position,
					   const char *expected, const char *found, const char *detail,...)
{
	va_list		args;

	va_start(args, detail);
	object_finding(ctx, "verity.journal", check, position, expected, found, detail, args);
	va_end(args);
}

/* A finding about something else that belongs to no open table. */
void
verify_object_finding(VerifyContext *ctx, const char *object, const char *check,
					  VerityPosition position, const char *expected, const char *found,
					  const char *detail,...)
{
	va_list		args;

	va_start(args, detail);
	object_finding(ctx, object, check, position, expected, found, detail, args);
	va_end(args);
}
