/* rm FILE...: the only program of the small images, so that RUN can delete without a 2 MB shell (x86-64 Linux).
   See tiny_rm in lib.sh. */
static long call(long n, long a) {
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a) : "rcx", "r11", "memory");
    return r;
}
__asm__(".globl _start\n_start: mov %rsp,%rdi\n and $-16,%rsp\n call run\n");
__attribute__((used)) void run(long *stack) { /* argc, argv... */
    long failed = 0;
    for (long i = 1; i < stack[0]; i++) failed |= call(87 /* unlink */, stack[i + 1]);
    call(60 /* exit */, failed != 0);
}
