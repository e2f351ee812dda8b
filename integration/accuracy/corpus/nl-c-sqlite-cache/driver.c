/* A service that looks up accounts in an SQLite database by their number.
 *
 * Each page that it reads goes into the page cache of the connection, which grows until it holds as many as "PRAGMA cache_size"
 * allows, here 6 MB. The database is larger. With --safe the cache holds 50 pages. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service.h"

enum { ACCOUNTS = 20000 };

static void must(int result, int wanted)
{
    if (result != wanted) {
        fprintf(stderr, "sqlite: %s\n", sqlite3_errstr(result));
        exit(1);
    }
}

static void fill(const char *path)
{
    sqlite3 *db;
    must(sqlite3_open(path, &db), SQLITE_OK);
    must(sqlite3_exec(db,
                      "PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF; PRAGMA cache_size = 50;"
                      "CREATE TABLE account (id INTEGER PRIMARY KEY, owner TEXT, history BLOB);"
                      "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
                      "INSERT INTO account SELECT i, 'owner ' || i, randomblob(1500) FROM n;",
                      NULL, NULL, NULL),
         SQLITE_OK);
    sqlite3_close(db);
}

static long look_up(sqlite3_stmt *query, long account)
{
    sqlite3_bind_int64(query, 1, account);
    must(sqlite3_step(query), SQLITE_ROW);
    long size = sqlite3_column_int64(query, 1) + (long)strlen((const char *)sqlite3_column_text(query, 0));
    must(sqlite3_reset(query), SQLITE_OK);
    return size;
}

int main(int argc, char **argv)
{
    double rate = number(argc, argv, "--rate", 25);
    double duration = number(argc, argv, "--duration", 120);
    int safe = is_given(argc, argv, "--safe");
    char path[] = "/tmp/accounts-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    fill(path);
    sqlite3 *db;
    must(sqlite3_open(path, &db), SQLITE_OK);
    unlink(path);
    must(sqlite3_exec(db, safe ? "PRAGMA cache_size = 50" : "PRAGMA cache_size = -6000", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_stmt *query;
    must(sqlite3_prepare_v2(db, "SELECT owner, length(history) FROM account WHERE id = ?", -1, &query, NULL), SQLITE_OK);
    srandom(1);
    double start = now();
    long done = 0, bytes = 0;
    while (now() - start < duration) {
        /* accounts that are in use today are asked for most */
        long account = random() % 10 < 5 ? random() % 200 : random() % ACCOUNTS;
        bytes += look_up(query, account + 1);
        done++;
        keep_pace(start, done, rate);
    }
    sqlite3_finalize(query);
    sqlite3_close(db);
    printf("done %ld, %ld bytes\n", done, bytes);
    return 0;
}
