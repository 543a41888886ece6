// QD_WIDE is for the few loops that see every entry of every table. It makes a second copy of a function for processors
// with AVX2, which do four entries at a time instead of two, and swap bytes in one step. The program picks one of the
// copies when it starts.
#pragma once

#if defined(__x86_64__) && defined(__has_attribute)
#if __has_attribute(target_clones)
#define QD_WIDE __attribute__((target_clones("avx2", "default")))
#endif
#endif
#ifndef QD_WIDE
#define QD_WIDE
#endif
