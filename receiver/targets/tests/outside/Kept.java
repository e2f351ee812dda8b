import java.util.ArrayList;
import java.util.List;
import java.util.Scanner;

/** Keeps memory, or lets go of it, as it is told; each time with a collection. */
public class Kept {
    static final List<byte[]> kept = new ArrayList<>();

    public static void main(String[] arguments) {
        Scanner orders = new Scanner(System.in);
        System.out.println("ready");
        while (orders.hasNextLine()) {
            if (orders.nextLine().equals("keep")) {
                for (int index = 0; index < 320; index++) {
                    kept.add(new byte[100_000]);
                }
            } else {
                kept.clear();
            }
            System.gc();
            System.out.println("done");
        }
    }
}
