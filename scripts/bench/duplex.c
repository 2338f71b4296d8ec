/* duplex.c - a plain transfer in both directions: `duplex listen` on one machine, `duplex ADDRESS`
 * on the other, until it is killed. What do computations lose beside it? (scripts/bench/slow-link)
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PORT = 9999, BYTES = 1 << 20 };

static void *send_for_ever(void *stream)
{
    static char block[BYTES];
    while (send(*(int *)stream, block, BYTES, MSG_NOSIGNAL) > 0) {
    }
    return NULL;
}

static int listen_once(const struct sockaddr_in *own)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (const struct sockaddr *)own, sizeof *own) || listen(listener, 1)) return -1;
    return accept(listener, NULL, NULL);
}

static int connect_to(const struct sockaddr_in *other)
{
    for (int tries = 0; tries < 500; tries++) {
        int stream = socket(AF_INET, SOCK_STREAM, 0);
        if (!connect(stream, (const struct sockaddr *)other, sizeof *other)) return stream;
        close(stream);
        usleep(10000);
    }
    return -1;
}

int main(int count, char **words)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    if (count < 2) return 2;
    int listens = !strcmp(words[1], "listen");
    if (!listens && inet_pton(AF_INET, words[1], &address.sin_addr) != 1) return 2;
    int stream = listens ? listen_once(&address) : connect_to(&address);
    static char block[BYTES];
    pthread_t sender;
    if (stream < 0 || pthread_create(&sender, NULL, send_for_ever, &stream)) return 1;
    while (recv(stream, block, BYTES, 0) > 0) {
    }
    return 0;
}
