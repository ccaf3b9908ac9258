// Identity, migrations and views of the file. Private to the store, and to its tests.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/embedded.h"

namespace tandem {

constexpr std::int32_t kApplicationId = 0x54616E64;  // "Tand"
constexpr int kBusyTimeout_ms = 30000;

// The NNNN_*.sql files of src/store, in order; StoreError where a number is missing.
std::vector<EmbeddedFile> migration_files(const std::vector<EmbeddedFile>& all);

// user_version of a Tandem database, 0 of an empty one. StoreError for a file of another program
// and for one newer than `newest`.
int checked_version(SQLite::Database& db, const std::string& path, int newest);

// The same by the file's own header, before SQLite opens it, which leaves a log beside a file in
// WAL mode that it only reads. What such a log may say otherwise, or nothing, is left to the above.
void expect_own_file(const std::string& path, int newest);

// A folder, a device, a pipe or a circle of links where a database is wanted is a StoreError that
// says so.
void expect_database_place(const std::string& path);
// StoreError where nothing is at the path, which says how a database is made.
void expect_results_database(const std::string& path);
// Opens read-only. Where a killed writer left a half-done change in a rollback journal, which a
// read-only connection can't undo, it is undone first.
SQLite::Database open_read_only(const std::string& path);

// Brings an empty or older file forward in one BEGIN IMMEDIATE transaction.
void migrate(SQLite::Database& db, const std::string& path, const std::vector<EmbeddedFile>& files);

// analysis/views.sql for this file, with its marker {config columns} replaced by one column of
// v_run for each option of a run that the table run doesn't hold already, {old config columns} by
// the same in the values of earlier releases, {seed names} by the options that differ between
// repetitions, {seeds} by their values in one text, {not of a cell} by their names and those of
// what else may differ beside one joint run, {strategies that begin afresh} by their names, and
// {data told in bits} by the data sets whose score is bits per byte. {file} stands before tables
// that are meant whole: it is their schema where the connection has others of their names before
// them, `shadowed`, else nothing.
std::string views_sql(SQLite::Database& db, bool shadowed = false);
// Drops and makes the views anew where `sql` differs from what the file has.
void refresh_views(SQLite::Database& db, const std::string& sql);
// Where the file has other views than this program's, or `always`, this connection gets them, in
// memory alone.
void use_own_views(SQLite::Database& db, bool always = false);

// "wal" on a local disk, "truncate" where `folder` is remote: WAL needs memory shared by all
// processes that have the file open.
std::string journal_mode_for(const std::string& folder);

}  // namespace tandem
