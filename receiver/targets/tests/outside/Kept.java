import java.util.ArrayList;
import java.util.List;
import java.util.Scanner;

/** Keeps memory, or lets go of it, as it is told; each time with a collection, but for what is to be garbage. */
public class Kept {
    static final List<byte[]> kept = new ArrayList<>();
    static byte[] garbage;

    public static void main(String[] arguments) {
        Scanner orders = new Scanner(System.in);
        System.out.println("ready");
        while (orders.hasNextLine()) {
            String order = orders.nextLine();
            if (order.equals("keep")) {
                for (int index = 0; index < 320; index++) {
                    kept.add(new byte[100_000]);
                }
            } else if (order.equals("let go")) {
                kept.clear();
            }
            if (order.startsWith("make")) {
                for (int index = 0; index < (order.equals("make garbage") ? 4000 : 200); index++) {
                    garbage = new byte[100_000];
                }
            } else {
                System.gc();
            }
            System.out.println("done");
        }
    }
}
