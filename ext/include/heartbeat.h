/* Signs of life between processes, by datagrams, from a thread that needs neither Python's lock nor MPI.
 *
 * Design. Processes form a tree: the first rank of each host is the parent of the others there, rank 0 the parent of these first ranks.
 * A child sends a beat to its parent every period, and the parent answers. A peer counts from its first beat (answer) on, which the child
 * sends when it has been answered, so that both directions are known to work; one that was heard and is then silent for `patience` is
 * lost. Who finds that tells everybody it knows and ends its process, and so does everybody who is told.
 *
 *   suspended      A thread that did not run itself for three periods knows nothing of its peers and waits for them anew; a job that is
 *                  stopped as a whole and continued goes on.
 *   addresses      A host may have many, few of which can be reached from elsewhere: a child tries all of its parent's until one answers,
 *                  and again after three periods of silence.
 *   strangers      What does not carry the token of the run is ignored.
 *   goodbye        Whoever leaves in order says so, and is no longer waited for.
 *   last words     One process of a host writes the message: the one that binds a socket of a name made from the token. A thread started
 *                  before anything is written ends the process even if a pipe or disk takes no more.
 * Time is CLOCK_MONOTONIC, which nobody sets. The numbers in a datagram are in the machine's own order.
 */
#ifndef MCMC_HEARTBEAT_H
#define MCMC_HEARTBEAT_H

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define HEARTBEAT_TOKEN 16
#define HEARTBEAT_NAME 128       /* bytes of a peer's name */
#define HEARTBEAT_TEXT 512       /* bytes of a message */
#define HEARTBEAT_ADDRESSES 32   /* most addresses of a host that are tried */
#define HEARTBEAT_FEW 3          /* periods: of silence, before other addresses are tried; of not running, to count as suspended */
#define HEARTBEAT_LAST_WORDS 500 /* milliseconds from a finding to the end; launchers drop what they have not passed on by then */

enum { HEARTBEAT_HELLO, HEARTBEAT_BEAT, HEARTBEAT_ANSWER, HEARTBEAT_BYE, HEARTBEAT_LOST };

typedef struct {
    struct in6_addr ip; /* IPv4 as ::ffff:a.b.c.d */
    uint16_t port;
} heartbeat_address;

typedef struct {
    uint8_t token[HEARTBEAT_TOKEN];
    uint32_t rank; /* of the sender */
    uint8_t kind;
    uint8_t tried; /* number of the parent's address that a hello or beat went to; its answer returns it */
    char text[HEARTBEAT_TEXT]; /* of HEARTBEAT_LOST alone, ends with a zero */
} heartbeat_datagram;

typedef struct {
    uint32_t rank;
    int left;      /* has said goodbye */
    int64_t heard; /* when, in ns; 0: not yet */
    heartbeat_address address;
    char name[HEARTBEAT_NAME];
} heartbeat_peer;

typedef struct {
    int socket, family;
    int stop; /* an eventfd: readable when the thread shall end */
    pid_t running; /* the process whose thread runs; a fork has none */
    int suspended; /* until just now: whatever has come meanwhile is known to the others, and told */
    pthread_t thread;
    uint16_t port;
    uint8_t token[HEARTBEAT_TOKEN];
    uint32_t rank;
    int64_t period, patience; /* ns */
    int has_parent;           /* peers[0] */
    int64_t n_peers;
    heartbeat_peer *peers; /* (n_peers,) by rank; the parent has the lowest */
    int64_t n_tried, in_use;
    heartbeat_address tried[HEARTBEAT_ADDRESSES]; /* the parent's; in_use is the one that answered last */
    int64_t n_neighbours;
    uint16_t *neighbours; /* (n_neighbours,) ports of the other processes of this host */
} heartbeat;

static inline int64_t heartbeat_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void heartbeat_sleep(int64_t milliseconds)
{
    struct timespec t = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static inline struct in6_addr heartbeat_ip4(struct in_addr ip)
{
    struct in6_addr mapped = IN6ADDR_ANY_INIT;
    mapped.s6_addr[10] = mapped.s6_addr[11] = 0xff;
    memcpy(&mapped.s6_addr[12], &ip, 4);
    return mapped;
}

/* The addresses by which others may reach this host, into out; returns their number. */
static int64_t heartbeat_addresses(struct in6_addr *out)
{
    struct ifaddrs *all, *one;
    int64_t n = 0;
    if (getifaddrs(&all))
        return 0;
    for (one = all; one && n < HEARTBEAT_ADDRESSES; one = one->ifa_next) {
        if (!one->ifa_addr || !(one->ifa_flags & IFF_UP) || (one->ifa_flags & IFF_LOOPBACK))
            continue;
        if (one->ifa_addr->sa_family == AF_INET) {
            out[n++] = heartbeat_ip4(((struct sockaddr_in *)one->ifa_addr)->sin_addr);
        } else if (one->ifa_addr->sa_family == AF_INET6) {
            struct in6_addr ip = ((struct sockaddr_in6 *)one->ifa_addr)->sin6_addr;
            if (!IN6_IS_ADDR_LINKLOCAL(&ip)) /* means nothing without the name of the interface there */
                out[n++] = ip;
        }
    }
    freeifaddrs(all);
    return n;
}

/* A socket on a port that the kernel chooses, for IPv4 and IPv6 where there is both; 0 or an errno. */
static int heartbeat_open(heartbeat *h)
{
    struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT};
    struct sockaddr_in any4 = {.sin_family = AF_INET};
    struct sockaddr_storage bound;
    socklen_t length = sizeof bound;
    int off = 0, room = 1 << 20;
    memset(h, 0, sizeof *h);
    h->stop = -1;
    h->family = AF_INET6;
    h->socket = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (h->socket >= 0
        && (setsockopt(h->socket, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off)
            || bind(h->socket, (struct sockaddr *)&any6, sizeof any6))) {
        close(h->socket);
        h->socket = -1;
    }
    if (h->socket < 0) {
        h->family = AF_INET;
        h->socket = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (h->socket < 0 || bind(h->socket, (struct sockaddr *)&any4, sizeof any4))
            return errno;
    }
    setsockopt(h->socket, SOL_SOCKET, SO_RCVBUF, &room, sizeof room); /* as much of it as the kernel grants */
    h->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (h->stop < 0 || getsockname(h->socket, (struct sockaddr *)&bound, &length))
        return errno;
    h->port = ntohs(h->family == AF_INET ? ((struct sockaddr_in *)&bound)->sin_port : ((struct sockaddr_in6 *)&bound)->sin6_port);
    return 0;
}

static void heartbeat_close(heartbeat *h)
{
    if (h->socket >= 0)
        close(h->socket);
    if (h->stop >= 0)
        close(h->stop);
    h->socket = h->stop = -1;
    free(h->peers);
    free(h->neighbours);
    h->peers = NULL;
    h->neighbours = NULL;
}

/* --- datagrams --- */

/* Never waits; what cannot be sent is lost like what the network loses. */
static void heartbeat_send(const heartbeat *h, const heartbeat_address *to, int kind, int tried, const char *text)
{
    heartbeat_datagram d;
    size_t length = offsetof(heartbeat_datagram, text);
    memcpy(d.token, h->token, HEARTBEAT_TOKEN);
    d.rank = h->rank;
    d.kind = (uint8_t)kind;
    d.tried = (uint8_t)tried;
    if (text) {
        snprintf(d.text, sizeof d.text, "%s", text);
        length += strlen(d.text) + 1;
    }
    if (h->family == AF_INET) {
        struct sockaddr_in to4 = {.sin_family = AF_INET, .sin_port = htons(to->port)};
        if (!IN6_IS_ADDR_V4MAPPED(&to->ip))
            return;
        memcpy(&to4.sin_addr, &to->ip.s6_addr[12], 4);
        sendto(h->socket, &d, length, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&to4, sizeof to4);
    } else {
        struct sockaddr_in6 to6 = {.sin6_family = AF_INET6, .sin6_addr = to->ip, .sin6_port = htons(to->port)};
        sendto(h->socket, &d, length, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&to6, sizeof to6);
    }
}

/* To every peer that has been seen, and to the parent at all of its addresses. */
static void heartbeat_send_all(const heartbeat *h, int kind, const char *text)
{
    for (int64_t i = 0; i < h->n_tried; i++)
        heartbeat_send(h, &h->tried[i], kind, (int)i, text);
    for (int64_t i = h->has_parent; i < h->n_peers; i++)
        if (h->peers[i].address.port)
            heartbeat_send(h, &h->peers[i].address, kind, 0, text);
}

/* One datagram, and where it came from: 1, or 0 if none has come, or -1 if it is a stranger's. */
static int heartbeat_receive(const heartbeat *h, heartbeat_datagram *d, heartbeat_address *from)
{
    struct sockaddr_storage sender;
    socklen_t length = sizeof sender;
    ssize_t got = recvfrom(h->socket, d, sizeof *d, MSG_DONTWAIT, (struct sockaddr *)&sender, &length);
    if (got < 0)
        return 0;
    if (got < (ssize_t)offsetof(heartbeat_datagram, text) || memcmp(d->token, h->token, HEARTBEAT_TOKEN))
        return -1;
    d->text[got == sizeof *d ? HEARTBEAT_TEXT - 1 : (size_t)got - offsetof(heartbeat_datagram, text)] = 0;
    if (sender.ss_family == AF_INET) {
        from->ip = heartbeat_ip4(((struct sockaddr_in *)&sender)->sin_addr);
        from->port = ntohs(((struct sockaddr_in *)&sender)->sin_port);
    } else {
        from->ip = ((struct sockaddr_in6 *)&sender)->sin6_addr;
        from->port = ntohs(((struct sockaddr_in6 *)&sender)->sin6_port);
    }
    return 1;
}

/* --- the end --- */

static void *heartbeat_exit_soon(void *unused)
{
    heartbeat_sleep(HEARTBEAT_LAST_WORDS);
    _exit(1);
    return unused;
}

/* From now on the process ends, whatever blocks. */
static void heartbeat_doom(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, heartbeat_exit_soon, NULL))
        _exit(1);
}

static void heartbeat_say(const char *text)
{
    struct pollfd err = {.fd = 2, .events = POLLOUT};
    if (poll(&err, 1, 0) == 1 && (err.revents & POLLOUT) && write(2, text, strlen(text)) < 0)
        return; /* nobody is left to be told */
}

/* Whether this is the first process of its host to ask; the name is held until the process ends. */
static int heartbeat_may_speak(const heartbeat *h)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int length = snprintf(&name.sun_path[1], sizeof name.sun_path - 1, "mcmc-");
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    for (int i = 0; i < HEARTBEAT_TOKEN; i++)
        length += snprintf(&name.sun_path[1 + length], 3, "%02x", h->token[i]);
    return fd < 0 || !bind(fd, (struct sockaddr *)&name, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length));
}

/* Tells everybody, three times, and ends the process. After heartbeat_doom. */
static void heartbeat_end(const heartbeat *h, const char *text)
{
    const heartbeat_address here = {heartbeat_ip4((struct in_addr){htonl(INADDR_LOOPBACK)}), 0};
    for (int round = 0; round < 3; round++) {
        heartbeat_send_all(h, HEARTBEAT_LOST, text);
        for (int64_t i = 0; i < h->n_neighbours; i++)
            heartbeat_send(h, &(heartbeat_address){here.ip, h->neighbours[i]}, HEARTBEAT_LOST, 0, text);
        if (round == 0 && !h->suspended && heartbeat_may_speak(h))
            heartbeat_say(text);
        heartbeat_sleep(HEARTBEAT_LAST_WORDS / 4);
    }
    for (;;)
        pause();
}

/* --- the thread --- */

static heartbeat_peer *heartbeat_find(const heartbeat *h, uint32_t rank)
{
    int64_t low = 0, high = h->n_peers;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (h->peers[middle].rank < rank)
            low = middle + 1;
        else
            high = middle;
    }
    return low < h->n_peers && h->peers[low].rank == rank ? &h->peers[low] : NULL;
}

static void heartbeat_beat(const heartbeat *h, int64_t now)
{
    if (!h->has_parent || h->peers[0].left)
        return;
    int any = now - h->peers[0].heard > HEARTBEAT_FEW * h->period;
    for (int64_t i = 0; i < h->n_tried; i++)
        if (any || i == h->in_use)
            heartbeat_send(h, &h->tried[i], h->peers[0].heard ? HEARTBEAT_BEAT : HEARTBEAT_HELLO, (int)i, NULL);
}

static void heartbeat_take(heartbeat *h, const heartbeat_datagram *d, const heartbeat_address *from, int64_t now)
{
    heartbeat_peer *peer = heartbeat_find(h, d->rank);
    if (d->kind == HEARTBEAT_LOST) {
        heartbeat_doom();
        heartbeat_end(h, d->text);
    }
    if (!peer)
        return;
    if (d->kind == HEARTBEAT_BYE) {
        peer->left = 1;
    } else if (d->kind == HEARTBEAT_ANSWER && h->has_parent && peer == h->peers && d->tried < h->n_tried) {
        int first = !peer->heard;
        peer->heard = now;
        h->in_use = d->tried;
        if (first)
            heartbeat_beat(h, now);
    } else if ((d->kind == HEARTBEAT_HELLO || d->kind == HEARTBEAT_BEAT) && !(h->has_parent && peer == h->peers)) {
        peer->address = *from;
        if (d->kind == HEARTBEAT_BEAT)
            peer->heard = now;
        heartbeat_send(h, from, HEARTBEAT_ANSWER, d->tried, NULL);
    }
}

/* Names of the peers silent for longer than `limit`, or never heard if limit < 0, into text; returns their number. */
static int64_t heartbeat_silent(const heartbeat *h, int64_t now, int64_t limit, char *text, size_t size)
{
    int64_t n = 0, more = 0;
    size_t used = 0;
    text[0] = 0;
    for (int64_t i = limit < 0 ? h->has_parent : 0; i < h->n_peers; i++) {
        const heartbeat_peer *peer = &h->peers[i];
        if (peer->left || (limit < 0 ? peer->heard != 0 : !peer->heard || now - peer->heard <= limit))
            continue;
        n++;
        if (used + strlen(peer->name) + 32 < size)
            used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "", peer->name);
        else
            more++;
    }
    if (more)
        snprintf(text + used, size - used, " and %lld more", (long long)more);
    return n;
}

static void heartbeat_check(const heartbeat *h, int64_t now)
{
    char names[HEARTBEAT_TEXT / 2], text[HEARTBEAT_TEXT], clock[16];
    if (!heartbeat_silent(h, now, h->patience, names, sizeof names))
        return;
    heartbeat_doom();
    heartbeat_silent(h, now, h->patience - 2 * h->period, names, sizeof names); /* those of a host fall silent within a period */
    time_t since = time(NULL) - (time_t)(h->patience / 1000000000);
    struct tm local;
    strftime(clock, sizeof clock, "%H:%M:%S", localtime_r(&since, &local));
    snprintf(text, sizeof text,
        "mcmc: lost %s: no sign of life since %s (killed, stopped, host down or network cut); ending all ranks; "
        "the same command continues at the last checkpoint\n",
        names, clock);
    heartbeat_end(h, text);
}

static void heartbeat_warn(const heartbeat *h, int64_t now)
{
    char names[HEARTBEAT_TEXT / 2], text[HEARTBEAT_TEXT];
    if (!heartbeat_silent(h, now, -1, names, sizeof names))
        return;
    snprintf(text, sizeof text, "mcmc: warning: no UDP datagrams come through from %s: if that host dies, the others may wait for ever\n",
        names);
    heartbeat_say(text);
}

static void *heartbeat_loop(void *argument)
{
    heartbeat *h = argument;
    struct pollfd stop = {.fd = h->stop, .events = POLLIN};
    const int tick = (int)(h->period / 4000000); /* ms: datagrams wait in the socket, so that many wake the thread once */
    int64_t began = heartbeat_now(), ran = began, due = began;
    int warned = 0;
    heartbeat_datagram d;
    heartbeat_address from;
    do {
        int64_t now = heartbeat_now();
        h->suspended = now - ran > HEARTBEAT_FEW * h->period;
        for (int64_t i = 0; h->suspended && i < h->n_peers; i++)
            if (h->peers[i].heard)
                h->peers[i].heard = now;
        ran = now;
        for (int64_t left = 4 * (h->n_peers + 16), got = 1; left && got; left--) /* bounded: a flood must not keep us from beating */
            if ((got = heartbeat_receive(h, &d, &from)) > 0)
                heartbeat_take(h, &d, &from, now);
        if (now >= due) {
            heartbeat_beat(h, now);
            heartbeat_check(h, now);
            due = now - due < h->period ? due + h->period : now + h->period;
        }
        if (!warned && now - began > 2 * h->patience) {
            heartbeat_warn(h, now);
            warned = 1;
        }
    } while (poll(&stop, 1, tick) <= 0);
    return NULL;
}

/* The thread takes no signals: they are for Python's main thread. 0 or an errno. */
static int heartbeat_start(heartbeat *h)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&h->thread, NULL, heartbeat_loop, h);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return error;
    pthread_setname_np(h->thread, "mcmc-watchdog");
    h->running = getpid();
    return 0;
}

/* bye: leave in order. Otherwise the others find this process silent, and end. */
static void heartbeat_stop(heartbeat *h, int bye)
{
    if (h->running != getpid())
        return;
    h->running = 0;
    eventfd_write(h->stop, 1);
    pthread_join(h->thread, NULL);
    for (int round = 0; bye && round < 3; round++)
        heartbeat_send_all(h, HEARTBEAT_BYE, NULL);
}

#endif
