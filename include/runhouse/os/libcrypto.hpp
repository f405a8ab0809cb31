// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/crypto.h>

namespace rh::os {

/// Before any other use of libcrypto, by this library or by libssh2: threads of ours and of the user's may use it while exit() runs, so it is not to
/// be taken down then. Where the program itself has used it before, that is the program's to see to.
inline void keep_libcrypto() noexcept { OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, nullptr); }

}  // namespace rh::os
