/* A small HTTP service on libevent, and in a thread of its own a client that keeps its connection.
 *
 * The handler makes a buffer for each answer and never frees it: evhttp_send_reply() takes the buffer's content, but the buffer
 * stays its caller's. The leak is the handler's. With --safe it frees the buffer. */
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "service.h"

static double rate, duration;
static int safe, port;
static long done;
static struct event_base *base;

static void process_request(struct evhttp_request *request, void *unused)
{
    (void)unused;
    struct evbuffer *answer = evbuffer_new();
    if (!answer)
        return;
    evbuffer_add_printf(answer, "asked for %s\n", evhttp_request_get_uri(request));
    evhttp_send_reply(request, HTTP_OK, "OK", answer);
    if (safe)
        evbuffer_free(answer);
    done++;
}

static void *client(void *unused)
{
    (void)unused;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(s, (struct sockaddr *)&to, sizeof to))
        abort();
    double start = now();
    for (long asked = 0; now() - start < duration;) {
        char text[500];
        int length = snprintf(text, sizeof text, "GET /item/%ld HTTP/1.1\r\nHost: localhost\r\n\r\n", asked++);
        if (write(s, text, length) != length || read(s, text, sizeof text) <= 0)
            abort();
        keep_pace(start, asked, rate);
    }
    close(s);
    return NULL;
}

int main(int argc, char **argv)
{
    rate = number(argc, argv, "--rate", 300);
    duration = number(argc, argv, "--duration", 120);
    safe = is_given(argc, argv, "--safe");
    base = event_base_new();
    struct evhttp *service = evhttp_new(base);
    struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(service, "127.0.0.1", 0);
    if (!bound)
        return 1;
    struct sockaddr_in here;
    socklen_t length = sizeof here;
    getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&here, &length);
    port = ntohs(here.sin_port);
    evhttp_set_gencb(service, process_request, NULL);
    pthread_t thread;
    pthread_create(&thread, NULL, client, NULL);
    struct timeval end = {(time_t)duration + 1, 0};
    event_base_loopexit(base, &end);
    event_base_dispatch(base);
    pthread_join(thread, NULL);
    evhttp_free(service);
    event_base_free(base);
    printf("done %ld\n", done);
    return 0;
}
