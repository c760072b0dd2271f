/*
 * journal_metadata.c
 *	  Who writes an entry, from where and why: the metadata of an entry.
 *
 * The idempotency id is not set here: only the one entry of the transaction
 * that claimed it has it.  Strings are those of the session at the time of the call; they are copied
 * into the current memory context.
 */
#include "postgres.h"

#include "common/ip.h"
#include "crypto/secmem.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/backend_status.h"
#include "utils/guc.h"

#include "am/journal/journal_store.h"
#include "sql/settings.h"

/*
 * Address of the client; "[local]" on a Unix socket, NULL without one.  As
 * pg_stat_activity has it: libpq-be.h wants headers of other libraries.
 */
static const char *
client_address(void)
{
	char		host[NI_MAXHOST];
	SockAddr   *client;

	if (MyBEEntry == NULL || MyBEEntry->st_clientaddr.addr.ss_family == AF_UNSPEC)
		return NULL;
	client = &MyBEEntry->st_clientaddr;
	if (client->addr.ss_family != AF_INET && client->addr.ss_family != AF_INET6)
		return "[local]";
	if (pg_getnameinfo_all(&client->addr, client->salen,
						   host, sizeof(host), NULL, 0, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return NULL;
	return pstrdup(host);
}

/* A salt that nobody can guess; drawn many at a time, since a draw costs as much as a hundred bytes do. */
void
journal_salt(uint8 salt[ENTRY_SALT_SIZE])
{
	static uint8 pool[32][ENTRY_SALT_SIZE];
	static int	left = 0;

	if (left == 0)
	{
		if (!pg_strong_random(pool, sizeof(pool)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random bytes")));
		left = lengthof(pool);
	}
	left--;
	memcpy(salt, pool[left], ENTRY_SALT_SIZE);
	secmem_wipe(pool[left], ENTRY_SALT_SIZE);
}

void
journal_metadata(entry_metadata *metadata)
{
	memset(metadata, 0, sizeof(entry_metadata));
	journal_salt(metadata->salt);
	if (OidIsValid(GetSessionUserId()))
		metadata->session_user = GetUserNameFromId(GetSessionUserId(), true);
	if (OidIsValid(GetUserId()))
		metadata->current_user = GetUserNameFromId(GetUserId(), true);
	if (application_name != NULL && application_name[0] != '\0')
		metadata->application = application_name;
	else if (MyBgworkerEntry != NULL)
		metadata->application = MyBgworkerEntry->bgw_name;
	metadata->client_address = client_address();
	if (verity_reason != NULL && verity_reason[0] != '\0')
		metadata->reason = verity_reason;
}
