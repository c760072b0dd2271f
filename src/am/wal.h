/*
 * wal.h
 *	  The resource manager: record types and their redo functions.
 *
 * Replay needs neither keys nor catalogs.  Redo functions live beside the
 * code that writes the record; rmgr.c dispatches.
 */
#ifndef VERITY_WAL_H
#define VERITY_WAL_H

#include "postgres.h"

#include "access/xlogreader.h"
#include "lib/stringinfo.h"

#define VERITY_RMGR_ID 158
#define VERITY_RMGR_NAME "verity"

#define XLOG_VERITY_INSERT 0x00
#define XLOG_VERITY_MULTI_INSERT 0x10
#define XLOG_VERITY_UPDATE 0x20
#define XLOG_VERITY_DELETE 0x30
#define XLOG_VERITY_CONFIRM 0x40	/* speculative insertion stays */
#define XLOG_VERITY_KILL 0x50	/* speculative insertion goes */
#define XLOG_VERITY_FREEZE 0x60
#define XLOG_VERITY_RECLAIM 0x70	/* aborted records */
#define XLOG_VERITY_MAP_SET 0x80
#define XLOG_VERITY_JOURNAL_APPEND 0x90
#define XLOG_VERITY_JOURNAL_HEADS 0xA0
#define XLOG_VERITY_JOURNAL_META 0xB0
#define XLOG_VERITY_META 0xC0	/* a page, as an image */
#define XLOG_VERITY_PIECE 0xD0	/* ciphertext, for logical decoding alone */

/* dml_wal.c */
extern void verity_redo_insert(XLogReaderState *record);
extern void verity_redo_multi_insert(XLogReaderState *record);
extern void verity_redo_update(XLogReaderState *record);
extern void verity_redo_delete(XLogReaderState *record);
extern void verity_redo_speculative(XLogReaderState *record);
extern void verity_desc_dml(StringInfo buf, XLogReaderState *record);

/* vacuum_wal.c */
extern void verity_redo_freeze(XLogReaderState *record);
extern void verity_redo_reclaim(XLogReaderState *record);
extern void verity_redo_map_set(XLogReaderState *record);
extern void verity_desc_vacuum(StringInfo buf, XLogReaderState *record);

/* journal_wal.c */
extern void verity_redo_journal(XLogReaderState *record);
extern void verity_desc_journal(StringInfo buf, XLogReaderState *record);
extern void verity_mask_journal(char *page, BlockNumber blkno);

/* logical_decode.c */
extern void verity_desc_piece(StringInfo buf, XLogReaderState *record);

extern void verity_rmgr_init(void);

#endif							/* VERITY_WAL_H */
