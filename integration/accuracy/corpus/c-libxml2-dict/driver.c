/* A service that reads the messages of a feed with one parser context, kept for all of them.
 *
 * The names in a message (here one of its own for each order) go into the dictionary of the context, which keeps them as long as
 * the context lives: a context that is used for ever grows for ever. With --safe each message has a context of its own. */
#include <libxml/parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service.h"

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
    int safe = is_given(argc, argv, "--safe");
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
        keep_pace(start, done, rate);
    }
    xmlFreeParserCtxt(context);
    printf("done %ld\n", done);
    return 0;
}
