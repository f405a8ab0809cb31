# SPDX-License-Identifier: Apache-2.0
@0xb1c6a7e1f2d3948d;

interface Echo {
  echo @0 (value :Int32) -> (value :Int32);
}
