{
  "targets": [
    {
      "target_name": "mylibsql",
      "sources": [
        "native/addon.cc",
        "native/connection.cc",
        "native/crc64.cc",
        "native/crc64_pclmul.cc",
        "native/crc64_vpclmul.cc",
        "native/database_copy.cc",
        "native/extension.cc",
        "native/failure.cc",
        "native/file_io.cc",
        "native/frame_apply.cc",
        "native/frame_check.cc",
        "native/frame_injector.cc",
        "native/frame_pick.cc",
        "native/frame_run.cc",
        "native/frame_source.cc",
        "native/guard.cc",
        "native/interrupts.cc",
        "native/js_args.cc",
        "native/js_error.cc",
        "native/lz4.cc",
        "native/page_versions.cc",
        "native/piece_writer.cc",
        "native/promise_job.cc",
        "native/side_connection.cc",
        "native/sqlite_handle.cc",
        "native/sqlite_result.cc",
        "native/wal_connection.cc",
        "native/wal_dot.cc",
        "native/wal_file.cc",
        "native/wal_fold.cc",
        "native/wal_format.cc",
        "native/wal_index.cc",
        "native/wal_jobs.cc",
        "native/wal_write_buffer.cc",
        "native/writer_locks.cc"
      ],
      "include_dirs": [
        "<!@(node -p \"require('node-addon-api').include\")",
        "<!@(node -p \"require('path').join(require('path').dirname(require.resolve('better-sqlite3/package.json')), 'deps/sqlite3')\")"
      ],
      "defines": [
        "NAPI_VERSION=9",
        "NODE_ADDON_API_CPP_EXCEPTIONS",
        "NODE_ADDON_API_DISABLE_DEPRECATED",
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"
      ],
      "cflags_cc": ["-std=c++17", "-O3", "-Wall", "-Wextra", "-fvisibility=hidden"],
      "cflags!": ["-fno-exceptions"],
      "cflags_cc!": ["-fno-exceptions", "-std=gnu++17", "-std=gnu++20"],
      "conditions": [
        ["OS=='mac'", {
          "xcode_settings": {
            "CLANG_CXX_LANGUAGE_STANDARD": "c++17",
            "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
            "GCC_OPTIMIZATION_LEVEL": "3",
            "GCC_SYMBOLS_PRIVATE_EXTERN": "YES"
          }
        }]
      ]
    }
  ]
}
