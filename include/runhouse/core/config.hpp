// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What this library needs of the compiler and the platform, each refused in one sentence.
#if !defined(__linux__)
#error "runhouse: only Linux is supported"
#endif
#if __cplusplus < 202002L
#error "runhouse: C++20 is needed; compile with -std=c++20"
#endif
#if defined(__clang__)
#if __clang_major__ < 16
#error "runhouse: clang 16 or newer is needed (older ones miscompile coroutines)"
#endif
#elif defined(__GNUC__)
#if __GNUC__ < 12
#error "runhouse: g++ 12 or newer is needed (older ones miscompile coroutines)"
#endif
#endif
#if !defined(__cpp_rtti)
#error "runhouse: run-time type information is needed to name functions; compile without -fno-rtti"
#endif
#if !defined(__cpp_exceptions)
#error "runhouse: exceptions are needed to report remote failures; compile without -fno-exceptions"
#endif
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "runhouse: the wire format is little-endian, and so must the machine be"
#endif

/// On each coroutine that is a template in a header. With -fno-pie -O2, g++ 12 puts the address of such a coroutine's
/// destroy function where it survives the function's own section, and two files that share the coroutine do not link
/// ("defined in discarded section"). Its users' own ones need -fPIE, Debian's default, or -fno-tree-slp-vectorize.
#if defined(__GNUC__) && !defined(__clang__) && !defined(__PIC__)
#define RH_TEMPLATE_COROUTINE [[gnu::optimize("no-tree-slp-vectorize")]]
#else
#define RH_TEMPLATE_COROUTINE
#endif
