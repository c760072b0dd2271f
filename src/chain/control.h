/*
 * control.h
 *	  Bodies of control entries.
 *
 * Each has an encode (with codec_writer) and a decode that checks it.  Strings
 * and arrays of a decoded body point into the bytes it was decoded from
 * (strings are given with their length) or into the caller's array.
 */
#ifndef VERITY_CONTROL_H
#define VERITY_CONTROL_H

#include "entry.h"

#define GENERATION_SALT_SIZE 32

typedef struct control_text
{
	const char *data;			/* not zero-terminated */
	uint32_t	len;
} control_text;

typedef struct control_genesis
{
	uint8_t		journal_id[16];
	uint64_t	system_identifier;
	uint32_t	database_oid;
	uint8_t		protect_history;	/* final */
	control_text database_name;
} control_genesis;

typedef enum generation_cause
{
	GENERATION_START = 1,		/* after a clean shutdown, or the first */
	GENERATION_RECOVERY = 2,	/* after a crash, restore or promotion */
	GENERATION_CLONE = 3		/* this database is a copy of another */
} generation_cause;

typedef struct control_generation
{
	uint32_t	number;			/* 1, 2, 3, … */
	uint64_t	id;				/* random */
	uint8_t		salt[GENERATION_SALT_SIZE];
	uint8_t		cause;			/* generation_cause */
	uint8_t		journal_id[16];	/* new where cause is GENERATION_CLONE */
	uint64_t	system_identifier;
	uint32_t	database_oid;
	uint64_t	first_serial;	/* serials of this generation begin here */
	uint64_t	good;			/* last position known to be final before */
	uint64_t	doubt_first;	/* positions in doubt; 0, 0 for none */
	uint64_t	doubt_last;
	uint32_t	voided;			/* how many of them turned out void */
} control_generation;

typedef struct control_void_member
{
	uint64_t	position;
	uint64_t	serial;
} control_void_member;

typedef struct control_void
{
	uint32_t	count;			/* 0 where only the horizon is stated; in any
								 * order */
	const control_void_member *members;
} control_void;

typedef enum schema_action
{
	SCHEMA_CREATE = 1,
	SCHEMA_ALTER = 2,
	SCHEMA_DROP = 3,			/* dropped, truncated or rewritten away */
	SCHEMA_UNCOVERED = 4		/* temporary, unlogged or materialized */
} schema_action;

typedef struct control_schema
{
	uint8_t		action;			/* schema_action */
	uint8_t		ledger[LEDGER_ID_SIZE];
	uint32_t	ledger_number;
	uint32_t	relation_oid;
	uint32_t	version;		/* row-schema version, 1, 2, 3, … */
	hash256		digest;			/* SHA-256 of definition */
	hash256		last_item;		/* SCHEMA_DROP: hash of the last item */
	control_text name;			/* schema-qualified */
	control_text definition;	/* canonical text; empty for SCHEMA_DROP */
} control_schema;

typedef struct control_key
{
	uint64_t	key_id;
	uint8_t		ledger[LEDGER_ID_SIZE];
	uint8_t		commitment[32];
} control_key;

typedef enum policy_action
{
	POLICY_RELEASE = 1,			/* a table's protection is lifted */
	POLICY_ACCEPT = 2			/* the journal goes on from here, although the
								 * keystore saw another; ledger is zeros */
} policy_action;

typedef struct control_policy
{
	uint8_t		action;			/* policy_action */
	uint8_t		ledger[LEDGER_ID_SIZE];
	control_text reason;
} control_policy;

extern void control_genesis_encode(codec_writer *w, const control_genesis *body);
extern core_status control_genesis_decode(const uint8_t *in, size_t len, control_genesis *body) CORE_WARN_UNUSED;
extern void control_generation_encode(codec_writer *w, const control_generation *body);
extern core_status control_generation_decode(const uint8_t *in, size_t len, control_generation *body) CORE_WARN_UNUSED;
extern void control_void_encode(codec_writer *w, const control_void *body);

/* members must have room for capacity; CORE_E_LIMIT when there are more. */
extern core_status control_void_decode(const uint8_t *in, size_t len, control_void *body,
									   control_void_member *members, uint32_t capacity) CORE_WARN_UNUSED;
extern void control_schema_encode(codec_writer *w, const control_schema *body);
extern core_status control_schema_decode(const uint8_t *in, size_t len, control_schema *body) CORE_WARN_UNUSED;
extern void control_key_encode(codec_writer *w, const control_key *body);
extern core_status control_key_decode(const uint8_t *in, size_t len, control_key *body) CORE_WARN_UNUSED;
extern void control_policy_encode(codec_writer *w, const control_policy *body);
extern core_status control_policy_decode(const uint8_t *in, size_t len, control_policy *body) CORE_WARN_UNUSED;

#endif							/* VERITY_CONTROL_H */
