;; Block decoders of LZ4 and Snappy over a scratch memory: the caller puts a block at [from, fromEnd), and what it
;; decodes to appears from `start` on. Each returns the bytes written, or -1 when the block is broken or does not fit
;; before `toEnd`.
;;
;; Copies move 16 (or 8) bytes at a time and may go up to 31 bytes beyond their end: what they leave there is written
;; over by the next sequence, or lies behind what is returned. So the memory must go on for 32 bytes behind fromEnd and
;; toEnd, and the block must lie before the output. Lengths can not wrap: the caller keeps blocks below 8 MiB.
(module
  (memory (export "memory") 2)

  ;; Copies `length` bytes from `source` to `to`, in steps of 16: `to` is behind `source` by 16 or more, or before it.
  (func $copyFar (param $source i32) (param $to i32) (param $length i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $to) (local.get $length)))
    (loop $steps
      (v128.store (local.get $to) (v128.load (local.get $source)))
      (local.set $source (i32.add (local.get $source) (i32.const 16)))
      (local.set $to (i32.add (local.get $to) (i32.const 16)))
      (br_if $steps (i32.lt_u (local.get $to) (local.get $end)))))

  ;; Repeats the `distance` bytes (1 to 15) before `to` until `length` bytes are written.
  (func $copyNear (param $distance i32) (param $to i32) (param $length i32)
    (local $source i32) (local $end i32)
    (local.set $end (i32.add (local.get $to) (local.get $length)))
    (local.set $source (i32.sub (local.get $to) (local.get $distance)))
    (if (i32.lt_u (local.get $distance) (i32.const 8))
      (then
        ;; Eight bytes one by one; then the pattern stands often enough to go on from a multiple of the distance.
        (i32.store8          (local.get $to) (i32.load8_u          (local.get $source)))
        (i32.store8 offset=1 (local.get $to) (i32.load8_u offset=1 (local.get $source)))
        (i32.store8 offset=2 (local.get $to) (i32.load8_u offset=2 (local.get $source)))
        (i32.store8 offset=3 (local.get $to) (i32.load8_u offset=3 (local.get $source)))
        (i32.store8 offset=4 (local.get $to) (i32.load8_u offset=4 (local.get $source)))
        (i32.store8 offset=5 (local.get $to) (i32.load8_u offset=5 (local.get $source)))
        (i32.store8 offset=6 (local.get $to) (i32.load8_u offset=6 (local.get $source)))
        (i32.store8 offset=7 (local.get $to) (i32.load8_u offset=7 (local.get $source)))
        (local.set $to (i32.add (local.get $to) (i32.const 8)))
        (local.set $source
          (i32.sub (local.get $to)
            (i32.mul (local.get $distance)
              (i32.div_u (i32.add (local.get $distance) (i32.const 7)) (local.get $distance)))))))
    (loop $steps
      (i64.store (local.get $to) (i64.load (local.get $source)))
      (local.set $source (i32.add (local.get $source) (i32.const 8)))
      (local.set $to (i32.add (local.get $to) (i32.const 8)))
      (br_if $steps (i32.lt_u (local.get $to) (local.get $end)))))

  ;; Sequences of <token: 4 bits literal length, 4 bits match length - 4><more literal length><literals>
  ;; <2 bytes distance, little-endian><more match length>; the last one ends after its literals.
  (func (export "decodeLz4")
    (param $from i32) (param $fromEnd i32) (param $start i32) (param $toEnd i32) (result i32)
    (local $to i32) (local $token i32) (local $length i32) (local $more i32) (local $distance i32)
    (local.set $to (local.get $start))
    (block $broken
      (loop $sequences
        (br_if $broken (i32.ge_u (local.get $from) (local.get $fromEnd)))
        (local.set $token (i32.load8_u (local.get $from)))
        (local.set $from (i32.add (local.get $from) (i32.const 1)))
        (local.set $length (i32.shr_u (local.get $token) (i32.const 4)))
        (if (i32.eq (local.get $length) (i32.const 15))
          (then
            (loop $bytes
              (br_if $broken (i32.ge_u (local.get $from) (local.get $fromEnd)))
              (local.set $more (i32.load8_u (local.get $from)))
              (local.set $from (i32.add (local.get $from) (i32.const 1)))
              (local.set $length (i32.add (local.get $length) (local.get $more)))
              (br_if $bytes (i32.eq (local.get $more) (i32.const 255))))))
        (br_if $broken (i32.gt_u (local.get $length) (i32.sub (local.get $fromEnd) (local.get $from))))
        (br_if $broken (i32.gt_u (local.get $length) (i32.sub (local.get $toEnd) (local.get $to))))
        (v128.store (local.get $to) (v128.load (local.get $from)))
        (if (i32.gt_u (local.get $length) (i32.const 16))
          (then
            (call $copyFar
              (i32.add (local.get $from) (i32.const 16))
              (i32.add (local.get $to) (i32.const 16))
              (i32.sub (local.get $length) (i32.const 16)))))
        (local.set $from (i32.add (local.get $from) (local.get $length)))
        (local.set $to (i32.add (local.get $to) (local.get $length)))
        (if (i32.eq (local.get $from) (local.get $fromEnd))
          (then (return (i32.sub (local.get $to) (local.get $start)))))

        (br_if $broken (i32.lt_u (i32.sub (local.get $fromEnd) (local.get $from)) (i32.const 2)))
        (local.set $distance (i32.load16_u (local.get $from)))
        (local.set $from (i32.add (local.get $from) (i32.const 2)))
        (br_if $broken (i32.eqz (local.get $distance)))
        (br_if $broken (i32.gt_u (local.get $distance) (i32.sub (local.get $to) (local.get $start))))
        (local.set $length (i32.and (local.get $token) (i32.const 15)))
        (if (i32.eq (local.get $length) (i32.const 15))
          (then
            (loop $bytes
              (br_if $broken (i32.ge_u (local.get $from) (local.get $fromEnd)))
              (local.set $more (i32.load8_u (local.get $from)))
              (local.set $from (i32.add (local.get $from) (i32.const 1)))
              (local.set $length (i32.add (local.get $length) (local.get $more)))
              (br_if $bytes (i32.eq (local.get $more) (i32.const 255))))))
        (local.set $length (i32.add (local.get $length) (i32.const 4)))
        (br_if $broken (i32.gt_u (local.get $length) (i32.sub (local.get $toEnd) (local.get $to))))
        (if (i32.ge_u (local.get $distance) (i32.const 16))
          (then
            (v128.store (local.get $to) (v128.load (i32.sub (local.get $to) (local.get $distance))))
            (if (i32.gt_u (local.get $length) (i32.const 16))
              (then
                (call $copyFar
                  (i32.add (i32.sub (local.get $to) (local.get $distance)) (i32.const 16))
                  (i32.add (local.get $to) (i32.const 16))
                  (i32.sub (local.get $length) (i32.const 16))))))
          (else (call $copyNear (local.get $distance) (local.get $to) (local.get $length))))
        (local.set $to (i32.add (local.get $to) (local.get $length)))
        (br $sequences)))
    (i32.const -1))

  ;; Elements of <tag: 2 bits kind, 6 bits length or more>: kind 0 literals, 1 to 3 copies whose distance takes 1 to 4
  ;; bytes, little-endian. What comes first in the format, the plain length, is behind `from` already.
  (func (export "decodeSnappy")
    (param $from i32) (param $fromEnd i32) (param $start i32) (param $toEnd i32) (result i32)
    (local $to i32) (local $tag i32) (local $kind i32) (local $length i32) (local $bytes i32) (local $distance i32)
    (local.set $to (local.get $start))
    (block $broken
      (loop $elements
        (if (i32.ge_u (local.get $from) (local.get $fromEnd))
          (then (return (i32.sub (local.get $to) (local.get $start)))))
        (local.set $tag (i32.load8_u (local.get $from)))
        (local.set $from (i32.add (local.get $from) (i32.const 1)))
        (local.set $kind (i32.and (local.get $tag) (i32.const 3)))
        (local.set $length (i32.add (i32.shr_u (local.get $tag) (i32.const 2)) (i32.const 1)))
        (if (i32.eqz (local.get $kind))
          (then
            ;; Above 60 the length itself follows in 1 to 4 bytes.
            (if (i32.gt_u (local.get $length) (i32.const 60))
              (then
                (local.set $bytes (i32.sub (local.get $length) (i32.const 60)))
                (br_if $broken
                  (i32.gt_u (local.get $bytes) (i32.sub (local.get $fromEnd) (local.get $from))))
                (local.set $length
                  (i32.add
                    (i32.and (i32.load (local.get $from))
                      (i32.shr_u (i32.const -1) (i32.sub (i32.const 32) (i32.shl (local.get $bytes) (i32.const 3)))))
                    (i32.const 1)))
                ;; 2^32 bytes wrap to none.
                (br_if $broken (i32.eqz (local.get $length)))
                (local.set $from (i32.add (local.get $from) (local.get $bytes)))))
            (br_if $broken (i32.gt_u (local.get $length) (i32.sub (local.get $fromEnd) (local.get $from))))
            (br_if $broken (i32.gt_u (local.get $length) (i32.sub (local.get $toEnd) (local.get $to))))
            (call $copyFar (local.get $from) (local.get $to) (local.get $length))
            (local.set $from (i32.add (local.get $from) (local.get $length)))
            (local.set $to (i32.add (local.get $to) (local.get $length)))
            (br $elements)))

        (if (i32.eq (local.get $kind) (i32.const 1))
          (then
            (br_if $broken (i32.ge_u (local.get $from) (local.get $fromEnd)))
            (local.set $length
              (i32.add (i32.and (i32.shr_u (local.get $tag) (i32.const 2)) (i32.const 7)) (i32.const 4)))
            (local.set $distance
              (i32.or
                (i32.shl (i32.and (local.get $tag) (i32.const 0xe0)) (i32.const 3))
                (i32.load8_u (local.get $from))))
            (local.set $from (i32.add (local.get $from) (i32.const 1))))
          (else
            (if (i32.eq (local.get $kind) (i32.const 2))
              (then
                (br_if $broken (i32.lt_u (i32.sub (local.get $fromEnd) (local.get $from)) (i32.const 2)))
                (local.set $distance (i32.load16_u (local.get $from)))
                (local.set $from (i32.add (local.get $from) (i32.const 2))))
              (else
                (br_if $broken (i32.lt_u (i32.sub (local.get $fromEnd) (local.get $from)) (i32.const 4)))
                (local.set $distance (i32.load (local.get $from)))
                (local.set $from (i32.add (local.get $from) (i32.const 4)))))))
        (br_if $broken (i32.eqz (local.get $distance)))
        (br_if $broken (i32.gt_u (local.get $distance) (i32.sub (local.get $to) (local.get $start))))
        (br_if $broken (i32.gt_u (local.get $length) (i32.sub (local.get $toEnd) (local.get $to))))
        (if (i32.ge_u (local.get $distance) (i32.const 16))
          (then (call $copyFar (i32.sub (local.get $to) (local.get $distance)) (local.get $to) (local.get $length)))
          (else (call $copyNear (local.get $distance) (local.get $to) (local.get $length))))
        (local.set $to (i32.add (local.get $to) (local.get $length)))
        (br $elements)))
    (i32.const -1))
)
