/* A service that reads the messages of a feed with one parser context, kept for all of them.
 *
 * The names in a message (here one of its own for each order) go into the dictionary of the context, which keeps them as long as
 * the context lives: a context that is used for ever grows for ever. With --safe each message has a context of its own. */
#include <libxml/parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double number(int argc, char **argv, const char *name, double fallback)
{
    for (int i = 1; i + 1 < argc; i++)
        if (!strcmp(argv[i], name))
            return atof(argv[i + 1]);
    return fallback;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void read_message(xmlParserCtxtPtr context, long id)
{
    char text[2000];
    int length = 0;
    length += snprintf(text, sizeof text, "<orders>");
    for (int i = 0; i < 8; i++)
        length += snprintf(text + length, sizeof text - length, "<order-of-customer-%ld-position-%d price='%ld'/>", id, i, id % 97);
    length += snprintf(text + length, sizeof text - length, "</orders>");
    xmlDocPtr message = xmlCtxtReadMemory(context, text, length, "feed.xml", NULL, XML_PARSE_NONET);
    if (!message)
        abort();
    xmlFreeDoc(message);
}

int main(int argc, char **argv)
{
    double rate = number(argc, argv, "--rate", 120);
    double duration = number(argc, argv, "--duration", 120);
    int safe = 0;
    for (int i = 1; i < argc; i++)
        safe |= !strcmp(argv[i], "--safe");
    xmlInitParser();
    xmlParserCtxtPtr context = xmlNewParserCtxt();
    double start = now();
    long done = 0;
    while (now() - start < duration) {
        if (safe) {
            xmlFreeParserCtxt(context);
            context = xmlNewParserCtxt();
        }
        read_message(context, done);
        done++;
        double pause = done / rate - (now() - start);
        if (pause > 0) {
            struct timespec t = {(time_t)pause, (long)((pause - (time_t)pause) * 1e9)};
            nanosleep(&t, NULL);
        }
    }
    xmlFreeParserCtxt(context);
    printf("done %ld\n", done);
    return 0;
}
