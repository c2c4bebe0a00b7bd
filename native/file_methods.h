#pragma once
// Stands between SQLite and a file that it has open: a sqlite3_file begins with a pointer to the methods of its VFS, which is
// turned to a copy of them. Self derives from this and puts functions of its own in the place of some; they find it by `of`.

#include <sqlite3ext.h>

namespace mylibsql {

template <class Self>
class FileMethods : protected sqlite3_io_methods {
 public:
  FileMethods(const FileMethods&) = delete;
  FileMethods& operator=(const FileMethods&) = delete;

 protected:
  // The file stays open until this ends.
  explicit FileMethods(sqlite3_file* file) : sqlite3_io_methods(*file->pMethods), file_(file), vfs_(file->pMethods) {
    file->pMethods = this;
  }
  ~FileMethods() { file_->pMethods = vfs_; }

  static Self& of(sqlite3_file* file) {
    return static_cast<Self&>(*static_cast<FileMethods*>(const_cast<sqlite3_io_methods*>(file->pMethods)));
  }

  sqlite3_file* const file_;
  const sqlite3_io_methods* const vfs_;
};

}  // namespace mylibsql
