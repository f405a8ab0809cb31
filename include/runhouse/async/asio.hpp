// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/config.hpp>

/// The one place that sets Asio up. clang with Asio 1.22 does not see coroutines by itself.
#if defined(ASIO_VERSION) && !defined(ASIO_HAS_CO_AWAIT)
#error "runhouse: include <runhouse/runhouse.hpp> before Asio, or define ASIO_HAS_CO_AWAIT=1 and ASIO_HAS_STD_COROUTINE=1"
#endif
#if !defined(ASIO_STANDALONE)
#define ASIO_STANDALONE 1
#endif
#if !defined(ASIO_HAS_CO_AWAIT)
#define ASIO_HAS_CO_AWAIT 1
#endif
#if !defined(ASIO_HAS_STD_COROUTINE)
#define ASIO_HAS_STD_COROUTINE 1
#endif

#include <asio/any_io_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
