@0xe93f4c1d80b2a657;

interface Counter {
  increment @0 (by :UInt64) -> (value :UInt64);
  echo @1 (data :Data) -> (data :Data);
}
