// Leaks in one method, reached through an interface and lambdas, beside requests that give back what they take: 250 times
// a second, from the line `go` to the next line, which it answers with what it has leaked. With the argument `objects`
// arrays leak, which live in the JVM's heap; else direct buffers, whose memory comes from malloc.

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.function.IntConsumer;

final class Leak {
    private static final int LEAK = 20_000;
    private static final int WARM_UP = 10_000;
    private static final List<Object> kept = new ArrayList<>(100_000);
    private static boolean objects;
    private static int bytes = 100;
    private static int sink;

    // True once a line has come.
    private static boolean line() throws IOException {
        for (int read = System.in.read(); read >= 0; read = System.in.read()) {
            if (read == '\n') {
                return true;
            }
        }
        return false;
    }

    private static void leakSite(int number) {
        if (objects) {
            // as large as half a region, or larger: it goes to the old generation at once
            byte[] array = new byte[bytes];
            array[0] = 1;
            kept.add(array);
        } else {
            kept.add(ByteBuffer.allocateDirect(bytes));
        }
    }

    private static void giveBack(int size) {
        byte[] bytes = new byte[size];
        bytes[size - 1] = 1;
        sink += bytes[size / 2] + bytes[size - 1];
    }

    private static void remember(int number) {
        giveBack(3000 + number % 7 * 100);
        leakSite(number);
    }

    private static void search(int number) {
        remember(number);
    }

    private static void upload(int number) {
        giveBack(3000);
        remember(number);
    }

    private static final IntConsumer[] handlers = {Leak::remember, Leak::search, Leak::upload};

    private static void route(int number) {
        handlers[number % 3].accept(number);
    }

    public static void main(String[] arguments) throws Exception {
        objects = arguments.length > 0 && arguments[0].equals("objects");
        // everything is compiled before anything is counted
        for (int number = 0; number < WARM_UP; number++) {
            route(number);
        }
        int warm = kept.size();
        bytes = objects ? 2 << 20 : LEAK;
        System.out.print("ready\n");
        System.out.flush();
        if (!line()) {
            return;
        }
        for (int number = 0; System.in.available() == 0; number++) {
            route(number);
            Thread.sleep(objects ? 100 : 4);
        }
        line();
        long blocks = kept.size() - warm;
        long leaked = blocks * bytes;
        String figures = "\"allocated\":" + blocks + ",\"bytes\":" + leaked + ",\"live\":" + blocks
            + ",\"live_bytes\":" + leaked;
        System.out.print("{\"sites\":[{\"function\":\"leakSite\"," + figures + "}]}\n");
        System.out.flush();
        while (line()) {}
    }
}
