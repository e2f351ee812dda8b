import java.lang.ref.SoftReference;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.locks.LockSupport;
import java.util.function.DoubleSupplier;

/** A Java service: Program SHAPE [--rate MB_PER_MIN] [--size MIB] --seed N */
public final class Program {
    static final double MIB = 1 << 20;
    /** Who asks a cache for something: what is in it has been asked for, or it would not be there, and will be again. */
    static final int READS_A_WRITE = 20;
    static final long BEGIN = System.nanoTime();
    static Random dice;
    static double rate;
    static double size;
    static Object sink;

    static double elapsed() {
        return (System.nanoTime() - BEGIN) / 1e9;
    }

    static void say(String what) {
        System.out.printf("{\"at\":%.3f,%s}%n", System.currentTimeMillis() / 1e3, what);
        System.out.flush();
    }

    static void beat() {
        LockSupport.parkNanos(50_000_000);
    }

    static double argument(String[] arguments, String name, double fallback) {
        for (int i = 1; i + 1 < arguments.length; i++) {
            if (arguments[i].equals(name)) {
                return Double.parseDouble(arguments[i + 1]);
            }
        }
        return fallback;
    }

    /** The place of what is asked for next among so many, the newest at 0: three readers in five ask for the newest fifth. */
    static long askedFor(int count) {
        return (long) (count * Math.pow(dice.nextDouble(), 3));
    }

    /** What a request needs beside comes and goes. */
    static void garbage(int count) {
        for (int i = 0; i < count; i++) {
            sink = new byte[100 + dice.nextInt(3000)];
        }
    }

    static void leak(String function, boolean load, DoubleSupplier keep) {
        say("\"leaks\":true,\"functions\":[\"" + function + "\"],\"mb_per_min\":" + rate);
        double owed = 0;
        double sum = 0;
        double told = 0;
        double last = elapsed();
        while (true) {
            double now = elapsed();
            owed += rate * MIB / 60 * (load ? 1 + 0.8 * Math.sin(now * 2 * Math.PI / 240) : 1) * (now - last);
            last = now;
            while (owed > 0) {
                double kept = keep.getAsDouble();
                owed -= kept;
                sum += kept;
                if (sum >= told + MIB) {
                    told = sum;
                    say("\"leaked\":" + Math.round(sum));
                }
            }
            garbage(150);
            beat();
        }
    }

    static final Map<Long, byte[]> SESSIONS = new HashMap<>();

    static double rememberSession() {
        byte[] state = new byte[200 + dice.nextInt(1200)];
        SESSIONS.put((long) SESSIONS.size(), state);
        return state.length + 96;
    }

    static final List<ByteBuffer> BUFFERS = new ArrayList<>();

    static double keepDirectBuffer() {
        ByteBuffer buffer = ByteBuffer.allocateDirect(65536);
        while (buffer.hasRemaining()) {
            buffer.put((byte) 1);
        }
        BUFFERS.add(buffer);
        return 65536;
    }

    static double startThread() {
        Thread thread = new Thread(null, () -> {
            byte[] state = new byte[20_000];
            while (true) {
                LockSupport.park(state);
            }
        }, "request", 256 << 10);
        thread.setDaemon(true);
        thread.start();
        return 20_000 + 45_000;
    }

    static void every(Runnable step) {
        say("\"leaks\":false");
        while (true) {
            step.run();
            beat();
        }
    }

    static void run(String shape) {
        List<Object> live = new ArrayList<>();
        switch (shape) {
            case "leak-sessions" -> leak("Program.rememberSession", false, Program::rememberSession);
            case "leak-sessions-under-load" -> leak("Program.rememberSession", true, Program::rememberSession);
            case "leak-direct-buffers" -> leak("Program.keepDirectBuffer", false, Program::keepDirectBuffer);
            case "leak-threads" -> leak("Program.startThread", false, Program::startThread);
            case "teeth" -> every(() -> garbage(1500));
            // over a live set that grows for three minutes and stops
            case "teeth-over-growing-set" -> every(() -> {
                garbage(600);
                while (live.size() * 1040.0 < size * Math.min(1, elapsed() / 180)) {
                    live.add(new byte[1024]);
                }
            });
            case "lru" -> {
                int room = (int) (size / 1100);
                Map<Long, byte[]> entries = new LinkedHashMap<>() {
                    private static final long serialVersionUID = 1;

                    @Override
                    protected boolean removeEldestEntry(Map.Entry<Long, byte[]> eldest) {
                        return size() > room;
                    }
                };
                long[] next = {0};
                long[] sum = {0};
                every(() -> {
                    for (int i = 0; i < room / 150 / 20 + 1; i++) {
                        entries.put(next[0]++, new byte[1024]);
                        for (int read = 0; read < READS_A_WRITE; read++) {
                            sum[0] += entries.get(next[0] - 1 - askedFor(entries.size()))[0];
                        }
                    }
                });
            }
            // the collector may take them when memory is short
            case "soft-cache" -> every(() -> {
                garbage(300);
                if (live.size() * 10_240.0 < size) {
                    live.add(new SoftReference<>(new byte[10_240]));
                }
            });
            default -> throw new IllegalArgumentException(shape);
        }
    }

    public static void main(String[] arguments) {
        dice = new Random((long) argument(arguments, "--seed", 1));
        double factor = 0.75 + 0.58 * dice.nextDouble();
        rate = argument(arguments, "--rate", 3) * factor;
        size = argument(arguments, "--size", 16) * factor * MIB;
        Thread input = new Thread(() -> {
            try {
                while (System.in.read() >= 0) {
                    continue;
                }
            } catch (java.io.IOException gone) {
                System.err.println(gone.getMessage());
            }
            Runtime.getRuntime().halt(0);
        });
        input.setDaemon(true);
        input.start();
        run(arguments[0]);
    }
}
