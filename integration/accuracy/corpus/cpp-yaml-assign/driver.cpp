// A service that keeps its status in a YAML document and updates one entry of it for each request.
//
// yaml-cpp gives no node of a document back before the document itself goes: each number that is assigned
// to an entry makes a node of its own, and stays.
#include <cstdio>
#include <string>

#include <yaml-cpp/yaml.h>

#include "service.h"

static YAML::Node empty_status()
{
    return YAML::Load("{service: orders, last: 0, load: 0.0, workers: [a, b, c]}");
}

__attribute__((noinline)) static void update_status(YAML::Node &status, long request)
{
    status["last"] = request;
    status["load"] = request % 100 / 100.0;
}

int main(int argc, char **argv)
{
    double rate = number(argc, argv, "--rate", 100);
    double duration = number(argc, argv, "--duration", 120);
    bool safe = is_given(argc, argv, "--safe");
    double start = now();
    auto status = empty_status();
    long done = 0;
    while (now() - start < duration) {
        if (safe && done % 20 == 0)
            status.reset(empty_status());
        update_status(status, done);
        done++;
        keep_pace(start, done, rate);
    }
    std::printf("done %ld, %s\n", done, status["last"].as<std::string>().c_str());
    return 0;
}
