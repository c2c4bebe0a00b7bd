#include "guard.h"

#include <algorithm>
#include <cctype>
#include <cstring>

namespace mylibsql {

namespace {

struct PragmaRule {
  const char* name;
  bool alsoWithoutArgument;
  const char* reason;
};

constexpr PragmaRule kRefusedPragmas[] = {
    {"journal_mode", false,
     "replication reads the frames of the write-ahead log, so the database stays in WAL mode; read the mode "
     "with "
     "PRAGMA journal_mode"},
    {"wal_autocheckpoint", false,
     "it would replace the hook that captures frames; mylibsql folds the WAL itself once its frames are "
     "saved: call "
     "checkpoint()"},
    {"wal_checkpoint", true,
     "it would let SQLite reset the WAL before its frames are saved; call checkpoint() of the Primary "
     "instead"},
    {"page_size", false,
     "logs and snapshots have the page size that the database was made with; choose it when you make the "
     "database, "
     "with init() or Snapshot.fromDatabase()"},
    {"locking_mode", false,
     "frames are read, folded and copied through connections of mylibsql's own, which an exclusive lock "
     "would shut "
     "out; a primary has the working file to itself already"},
};

// Pragmas that write into the header of a database file.
constexpr const char* kWritingPragmas[] = {"user_version", "application_id",     "schema_version",
                                           "auto_vacuum",  "incremental_vacuum", "encoding"};

bool equalsIgnoringCase(const char* left, const char* right) {
  while (*left != 0 && std::tolower(static_cast<unsigned char>(*left)) ==
                           std::tolower(static_cast<unsigned char>(*right))) {
    left++;
    right++;
  }
  return *left == *right ||
         std::tolower(static_cast<unsigned char>(*left)) == std::tolower(static_cast<unsigned char>(*right));
}

// The name that VACUUM attaches its new file under: "vacuum_" and 16 hexadecimal digits.
bool isVacuumSchema(const char* schema) {
  constexpr const char* kPrefix = "vacuum_";
  constexpr size_t kDigitCount = 16;
  if (std::strncmp(schema, kPrefix, std::strlen(kPrefix)) != 0) return false;
  const char* const digits = schema + std::strlen(kPrefix);
  return std::strlen(digits) == kDigitCount && std::strspn(digits, "0123456789abcdef") == kDigitCount;
}

bool isAttached(const char* schema) {
  return schema != nullptr && !equalsIgnoringCase(schema, "main") && !equalsIgnoringCase(schema, "temp") &&
         !isVacuumSchema(schema);
}

// What an action writes, or null when it only reads.
const char* writingVerb(int action) {
  switch (action) {
    case SQLITE_INSERT:
      return "INSERT into";
    case SQLITE_UPDATE:
      return "UPDATE of";
    case SQLITE_DELETE:
      return "DELETE from";
    case SQLITE_CREATE_TABLE:
    case SQLITE_CREATE_INDEX:
    case SQLITE_CREATE_TRIGGER:
    case SQLITE_CREATE_VIEW:
    case SQLITE_CREATE_VTABLE:
      return "CREATE of";
    case SQLITE_DROP_TABLE:
    case SQLITE_DROP_INDEX:
    case SQLITE_DROP_TRIGGER:
    case SQLITE_DROP_VIEW:
    case SQLITE_DROP_VTABLE:
      return "DROP of";
    case SQLITE_ALTER_TABLE:
      return "ALTER of";
    case SQLITE_REINDEX:
      return "REINDEX of";
    case SQLITE_ANALYZE:
      return "ANALYZE of";
    default:
      return nullptr;
  }
}

std::string refusePragma(const char* name, const char* argument, const char* schema) {
  for (const PragmaRule& rule : kRefusedPragmas) {
    if (!equalsIgnoringCase(name, rule.name)) continue;
    if (argument == nullptr && !rule.alsoWithoutArgument) return {};
    // What it is already: the first line of many applications.
    if (std::strcmp(rule.name, "journal_mode") == 0 && equalsIgnoringCase(argument, "wal")) return {};
    const std::string statement =
        std::string("PRAGMA ") + rule.name + (argument ? std::string(" = ") + argument : "");
    return statement + " is refused: " + rule.reason;
  }
  if (!isAttached(schema)) return {};
  for (const char* writing : kWritingPragmas) {
    const bool writes = argument != nullptr || equalsIgnoringCase(writing, "incremental_vacuum");
    if (!equalsIgnoringCase(name, writing) || !writes) continue;
    return std::string("PRAGMA ") + schema + "." + writing +
           " is refused: writes to attached databases are not replicated; open that database with a "
           "connection of its "
           "own";
  }
  return {};
}

std::string refuseWrite(const char* verb, const char* object, const char* schema) {
  if (!isAttached(schema)) return {};
  return std::string(verb) + " " + schema + "." + (object ? object : "") +
         " is refused: writes to attached databases are not replicated, and a transaction over both would "
         "not be atomic "
         "on a replica; write to main, or open that database with a connection of its own";
}

int authorizeThunk(void* guard, int action, const char* first, const char* second, const char* schema,
                   const char*) {
  return static_cast<Guard*>(guard)->authorize(action, first, second, schema);
}

// What is not zero turns the commit into a rollback.
int commitThunk(void* guard) { return static_cast<Guard*>(guard)->refusesCommit() ? 1 : 0; }

}  // namespace

void Guard::install(const SqliteHandle& handle, bool on) {
  handle.api->set_authorizer(handle.db, on ? authorizeThunk : nullptr, on ? this : nullptr);
  handle.api->commit_hook(handle.db, on ? commitThunk : nullptr, on ? this : nullptr);
}

std::optional<std::string> Guard::takeRefusal() {
  std::optional<std::string> refusal = std::move(refusal_);
  refusal_.reset();
  return refusal;
}

void Guard::holdTransaction(bool on) {
  isTransactionHeld_ = on;
  if (on) preparedSavepoint_ = false;
}

// The arguments are SQLite's (sqlite.org/c3ref/c_alter_table.html): ALTER TABLE alone names the schema first.
int Guard::authorize(int action, const char* first, const char* second, const char* schema) {
  std::string refusal;
  if (action == SQLITE_SAVEPOINT) {
    if (isTransactionHeld_) preparedSavepoint_ = true;
  } else if (action == SQLITE_PRAGMA) {
    refusal = refusePragma(first, second, schema);
  } else if (action == SQLITE_TRANSACTION && isTransactionHeld_) {
    refusal = std::string(first) + " is refused: the transaction is mylibsql's, which begins and ends it; throw to "
              "roll back, and use savepoints inside";
  } else if (const char* verb = writingVerb(action)) {
    refusal =
        action == SQLITE_ALTER_TABLE ? refuseWrite(verb, second, first) : refuseWrite(verb, first, schema);
  }
  if (refusal.empty()) return SQLITE_OK;
  refusal_ = std::move(refusal);
  return SQLITE_DENY;
}

}  // namespace mylibsql
