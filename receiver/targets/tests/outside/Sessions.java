import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.locks.LockSupport;

/** Remembers a session for every eight pieces of garbage; each begins with four bytes that say what it is. */
public class Sessions {
    static final List<byte[]> sessions = new ArrayList<>(100_000);
    static byte[] garbage;

    static byte[] marked(byte[] bytes, int kind) {
        bytes[0] = 7;
        bytes[1] = (byte) kind;
        bytes[2] = 9;
        bytes[3] = 3;
        return bytes;
    }

    public static void main(String[] arguments) {
        Random dice = new Random(1);
        System.out.println("ready");
        while (true) {
            for (int index = 0; index < 150; index++) {
                garbage = marked(new byte[100 + dice.nextInt(3000)], 1);
                if (dice.nextInt(8) == 0 && sessions.size() < 100_000) {
                    sessions.add(marked(new byte[200 + dice.nextInt(1200)], 2));
                }
            }
            LockSupport.parkNanos(10_000_000);
        }
    }
}
