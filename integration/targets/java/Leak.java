// Java: the heap is mapped by the virtual machine itself; direct buffers come from malloc. Keeps 32 direct buffers of
// 300,000 bytes each and 48 MiB of objects. With the argument `churn` it works in two threads until its input ends.

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

final class Leak {
    private static final List<Object> kept = new ArrayList<>();
    private static volatile boolean ended;

    private static void say(String text) {
        System.out.print(text + "\n");
        System.out.flush();
    }

    // True once a line has come.
    private static boolean line() throws IOException {
        for (int read = System.in.read(); read >= 0; read = System.in.read()) {
            if (read == '\n') {
                return true;
            }
        }
        return false;
    }

    private static void churn(int seed) {
        long[][] slots = new long[64][];
        for (int round = 1; !ended; round++) {
            long[] array = new long[1 + (round * 7919 + seed & 0xfff)];
            array[array.length - 1] = round;
            slots[round % 64] = array;
            try {
                if (round % 10 == 0) {
                    throw new IllegalStateException(String.valueOf(round));
                }
            } catch (IllegalStateException thrown) {
                array[0] = Long.parseLong(thrown.getMessage());
            }
            if (slots[round % 64][array.length - 1] != round) {
                System.exit(3);
            }
            if (round % 200 == 0) {
                ByteBuffer buffer = ByteBuffer.allocateDirect(10_000 + round % 1000);
                buffer.putInt(9_996, round);
                if (buffer.getInt(9_996) != round) {
                    System.exit(3);
                }
            }
            if (round % 50_000 == 0) {
                say(".");
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length > 0 && arguments[0].equals("churn")) {
            Thread end = new Thread(() -> {
                try {
                    while (line()) {}
                } catch (IOException gone) {
                    return;
                } finally {
                    ended = true;
                }
            });
            end.start();
            say("ready");
            Thread other = new Thread(() -> churn(1000));
            other.start();
            churn(1);
            other.join();
            say("sound");
            return;
        }
        // what the first of each kind needs is there
        kept.add(ByteBuffer.allocateDirect(10));
        say("ready");
        if (!line()) {
            return;
        }
        for (int n = 0; n < 32; n++) {
            kept.add(ByteBuffer.allocateDirect(300_000));
        }
        for (int n = 0; n < 48; n++) {
            kept.add(new byte[1 << 20]);
        }
        say("{\"sites\":[{\"allocated\":32,\"bytes\":9600000,\"live\":32,\"live_bytes\":9600000}]}");
        while (line()) {}
    }
}
