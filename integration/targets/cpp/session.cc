/*
 * A server for reports and pictures: it remembers every session and forgets none, has a cache that is soon full, and answers
 * requests with memory that it gives back. It ends when its input does.
 */
#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#define KEPT __attribute__((noinline))

struct Request {
    long user;
    std::string path;
};

class Session {
  public:
    KEPT static void remember(const Request &request);

  private:
    explicit Session(const Request &request) : user(request.user) { history.fill('s'); }
    long user;
    std::array<char, 16000> history; // written: memory counts once it is touched
    static std::vector<std::unique_ptr<Session>> all;
};

std::vector<std::unique_ptr<Session>> Session::all;

KEPT void Session::remember(const Request &request)
{
    all.push_back(std::unique_ptr<Session>(new Session(request)));
}

class Cache {
  public:
    KEPT void put(const std::string &page)
    {
        auto *text = new Text;
        text->fill(' ');
        page.copy(text->data(), text->size());
        pages[next++ % pages.size()].reset(text);
    }

  private:
    using Text = std::array<char, 4000>;
    std::array<std::unique_ptr<Text>, 128> pages;
    size_t next = 0;
};

KEPT static std::string render(const Request &request)
{
    return "<h1>" + request.path + "</h1>" + std::string(200, 'r');
}

KEPT static size_t serve(const Request &request, Cache &cache)
{
    Session::remember(request);
    auto page = render(request);
    cache.put(page);
    return page.size();
}

int main()
{
    std::thread end([] {
        char byte;
        while (read(STDIN_FILENO, &byte, 1) > 0)
            ;
        _exit(0);
    });
    Cache cache;
    for (long user = 0;; user++) {
        serve({user, "/users/" + std::to_string(user) + "/orders?sorted=by-date&page=1"}, cache);
        std::this_thread::sleep_for(std::chrono::milliseconds(80));
    }
}
